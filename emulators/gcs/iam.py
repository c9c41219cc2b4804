"""What Google's IAM knows and a bucket must ask: whose a token is, and which certificates an account signs with.

Asked of `emulators google-iam`: `GET /tokeninfo?access_token=…` and `GET /robot/v1/metadata/x509/EMAIL`, the two public
pages of the same names. A token is believed until it is over; certificates are, until a signature does not fit them.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate

from emulators.gcs.errors import GcsError
from emulators.google import GoogleError
from emulators.google_tokens import TokenInfo, Tokens

log = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 10.0


class Iam:
    """One process's view of the identity provider."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._session: aiohttp.ClientSession | None = None
        self._tokens: Tokens | None = None
        self._keys: dict[str, Sequence[RSAPublicKey]] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))
        self._tokens = Tokens(self._endpoint, self._session)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def token(self, text: str) -> TokenInfo:
        """Whose token this is.

        :raises GcsError: InvalidCredentials, ServiceUnavailable.
        """
        if self._tokens is None:
            raise GcsError("ServiceUnavailable")
        try:
            return await self._tokens.info(text)
        except GoogleError as exc:
            code = "InvalidCredentials" if exc.status == "UNAUTHENTICATED" else "ServiceUnavailable"
            raise GcsError(code) from exc

    async def has_signed(self, email: str, message: bytes, signature: bytes) -> bool:
        """Whether one of the account's keys made this signature; its certificates are asked for again before the
        answer is no, for keys are rotated.

        :raises GcsError: InvalidSecurity, when there is no such account; ServiceUnavailable.
        """
        known = self._keys.get(email)
        if known is not None and _fits(known, message, signature):
            return True
        async with self._asking.setdefault(email, asyncio.Lock()):
            if self._keys.get(email) is known:
                self._keys[email] = await self._certificates(email)
        return _fits(self._keys[email], message, signature)

    async def _certificates(self, email: str) -> Sequence[RSAPublicKey]:
        status, body = await self._get(f"/robot/v1/metadata/x509/{quote(email, safe='@')}")
        if status == 404:
            raise GcsError("InvalidSecurity", f"The account {email} is not known.")
        if status != 200:
            raise GcsError("ServiceUnavailable", "Certificates cannot be had at the moment.")
        keys = [load_pem_x509_certificate(pem.encode()).public_key() for pem in _decoded(body, dict[str, str]).values()]
        return [key for key in keys if isinstance(key, RSAPublicKey)]

    async def _get(self, path: str) -> tuple[int, bytes]:
        if self._session is None:
            raise GcsError("ServiceUnavailable")
        try:
            async with self._session.get(self._endpoint + path, allow_redirects=False) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError) as exc:
            log.warning("event=iam.unreachable reason=%s", type(exc).__name__)
            raise GcsError("ServiceUnavailable", "IAM cannot be reached.") from exc


def _decoded(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise GcsError("ServiceUnavailable", "IAM said something else than was asked.") from exc


def _fits(keys: Sequence[RSAPublicKey], message: bytes, signature: bytes) -> bool:
    return any(_is_by(key, message, signature) for key in keys)


def _is_by(key: RSAPublicKey, message: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, message, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True
