"""JSON Web Tokens with RS256, and nothing else: RFC 7515, RFC 7519."""

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from emulators.google_iam.keys import SigningKey

MAX_BYTES: Final = 16_384
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")


class BadToken(Exception):
    """It is not a JWT of ours; the text says why."""


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: str | None = None
    typ: str | None = None


def encode(key: SigningKey, claims: Mapping[str, Any]) -> str:
    header = {"alg": "RS256", "kid": key.kid, "typ": "JWT"}
    signed = f"{_packed(msgspec.json.encode(header))}.{_packed(msgspec.json.encode(claims))}"
    return f"{signed}.{_packed(key.sign(signed.encode()))}"


def unverified(token: str) -> dict[str, Any]:
    """The claims of a token that nobody has looked at yet.

    :raises BadToken: when it has none.
    """
    try:
        return msgspec.json.decode(_unpacked(_parts(token)[1]), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadToken("Invalid JWT: payload is not JSON.") from exc


def verified(token: str, keys: Mapping[str, SigningKey]) -> dict[str, Any]:
    """The claims of a token that one of `keys` signed. A token that names its key is tried with that one alone.

    :raises BadToken: as it says.
    """
    head, body, signature = _parts(token)
    try:
        header = msgspec.json.decode(_unpacked(head), type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadToken("Invalid JWT: header is not JSON.") from exc
    if header.alg != "RS256":
        raise BadToken(f"Invalid JWT: unsupported algorithm {header.alg!r}.")
    if header.kid is not None and header.kid not in keys:
        raise BadToken("Invalid JWT: unknown key id.")
    tried = keys.values() if header.kid is None else (keys[header.kid],)
    if not any(_is_signed(key, f"{head}.{body}".encode(), _unpacked(signature)) for key in tried):
        raise BadToken("Invalid JWT Signature.")
    return unverified(token)


def _is_signed(key: SigningKey, signed: bytes, signature: bytes) -> bool:
    try:
        key.public.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def _parts(token: str) -> tuple[str, str, str]:
    parts = token.split(".")
    if len(parts) != 3 or len(token) > MAX_BYTES or not token.isascii():
        raise BadToken("Invalid JWT: it needs three parts.")
    return parts[0], parts[1], parts[2]


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unpacked(text: str) -> bytes:
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:  # RFC 7515, section 2: without padding
        raise BadToken("Invalid JWT: a part is not base64url.")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
