"""Capabilities that need no memory: session tokens and lease tokens are MACs, compared in constant time."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from broker.domain.macs import Mac

_MAC_BYTES = 18  # 144 bits, no base64 padding
_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)


def derive(key: bytes, purpose: bytes, *, length: int = 32) -> bytes:
    """A key for one purpose from a master key of full entropy (HKDF-Expand, RFC 5869 section 2.3)."""
    block, out, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(key, block + purpose + bytes([counter]), hashlib.sha256)
        out, counter = out + block, counter + 1
    return out[:length]


class Tokens:
    """Mints with the first key, accepts any.

    :param keys: secrets of at least 32 bytes, newest first.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._session_keys = [Mac(derive(key, b"session-token")) for key in keys]
        self._lease_keys = [Mac(derive(key, b"lease-token")) for key in keys]

    def for_session(self, session_id: str, expires_at: datetime, generation: int) -> str:
        """A capability for this session alone, which ends with it.

        :param generation: of the key by whose right it is minted; the token says it.
        """
        end = _end(expires_at, generation)
        return f"us_{end}_{_mac(self._session_keys[0], f'{session_id}|{end}')}"

    def opens_session(self, token: str, session_id: str, now: datetime) -> bool:
        kind, _, rest = token.partition("_")
        end, _, mac = rest.partition("_")
        if kind != "us" or not _is_genuine(self._session_keys, f"{session_id}|{end}", mac):
            return False
        return now < datetime.fromtimestamp(int(end.partition(".")[0], 16), UTC)

    @staticmethod
    def generation_in(token: str) -> int:
        """:param token: one that opens."""
        return int(token.split("_")[1].partition(".")[2], 16)

    def for_lease(self, session_id: str, epoch: int, leased_at: datetime) -> str:
        """The right to finish one job, for this very lease.

        :param leased_at: a ledger that was restored counts its epochs again, but no moment comes twice.
        """
        at = f"{_milliseconds(leased_at):x}"
        return f"ul_{at}_{_mac(self._lease_keys[0], f'{session_id}|{epoch}|{at}')}"

    def opens_lease(self, token: str, session_id: str, epoch: int) -> datetime | None:
        """When the lease began that this token was made for; None when it is not one of this job and epoch."""
        kind, _, rest = token.partition("_")
        at, _, mac = rest.partition("_")
        if kind != "ul" or not _is_genuine(self._lease_keys, f"{session_id}|{epoch}|{at}", mac):
            return None
        return _EPOCH_START + timedelta(milliseconds=int(at, 16))


@lru_cache(maxsize=64)  # a batch has one
def _end(expires_at: datetime, generation: int) -> str:
    return f"{int(expires_at.timestamp()):x}.{generation:x}"


def _milliseconds(at: datetime) -> int:
    return (at - _EPOCH_START) // timedelta(milliseconds=1)


def _mac(key: Mac, text: str) -> str:
    """Of any text: ids and expiries come from outside, too, and not all of what can be sent is valid Unicode."""
    mac = key.digest(text.encode(errors="surrogatepass"))
    return base64.urlsafe_b64encode(mac[:_MAC_BYTES]).decode()


def _is_genuine(keys: Sequence[Mac], text: str, mac: str) -> bool:
    """Compared as bytes: `compare_digest` refuses non-ASCII text, and an attacker may send some."""
    given = mac.encode(errors="replace")
    return any([hmac.compare_digest(_mac(key, text).encode(), given) for key in keys])  # noqa: C419 - every key, always
