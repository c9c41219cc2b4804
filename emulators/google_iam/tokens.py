"""Access tokens: opaque to whoever holds them, expiring, and good across a restart of the emulator.

The token is its own record under a MAC, so nothing has to be kept, and none can be made up.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from pathlib import Path
from typing import Final

import msgspec

from emulators.google import unauthenticated

PREFIX: Final = "ya29.emulated-"
CLOUD_PLATFORM: Final = "https://www.googleapis.com/auth/cloud-platform"
IAM: Final = "https://www.googleapis.com/auth/iam"


class Bearer(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Who holds a token: a service account's address, or `principal://…` of a workload."""

    who: str
    scopes: tuple[str, ...]
    expires_at: float
    salt: str


class AccessTokens:
    def __init__(self, file: Path) -> None:
        self._key = _kept(file)

    def mint(self, who: str, scopes: tuple[str, ...], lifetime_seconds: float) -> tuple[str, Bearer]:
        """A new token; no two are equal."""
        bearer = Bearer(
            who=who, scopes=scopes, expires_at=time.time() + lifetime_seconds, salt=secrets.token_urlsafe(12)
        )
        record = msgspec.json.encode(bearer)
        return PREFIX + base64.urlsafe_b64encode(self._mac(record) + record).decode().rstrip("="), bearer

    def read(self, token: str) -> Bearer:
        """Whose token it is.

        :raises GoogleError: UNAUTHENTICATED when it is not one of ours, or has expired.
        """
        text = token.removeprefix(PREFIX)
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as exc:
            raise unauthenticated() from exc
        mac, record = raw[:32], raw[32:]
        if not token.startswith(PREFIX) or not hmac.compare_digest(mac, self._mac(record)):
            raise unauthenticated()
        bearer = msgspec.json.decode(record, type=Bearer)
        if bearer.expires_at <= time.time():
            raise unauthenticated()
        return bearer

    def _mac(self, record: bytes) -> bytes:
        return hmac.digest(self._key, record, hashlib.sha256)


def _kept(file: Path) -> bytes:
    if not file.exists():
        file.touch(mode=0o600)
        file.write_bytes(secrets.token_bytes(32))
    return file.read_bytes()
