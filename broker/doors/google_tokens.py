"""ID tokens of Google, by which a service account proves that it is calling (OpenID Connect Core 1.0, section 3.1.3.7).

google-auth verifies the signature, the times and the audience, and nothing else: it takes the algorithm that the token
names, tries every certificate for a token that names no key, reads times that are no numbers, and looks at neither the
issuer nor the e-mail address. So there is one algorithm here and one certificate, and the claims are read once more.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from google.auth import jwt
from google.auth.exceptions import GoogleAuthError, InvalidValue
from msgspec import Struct

from broker.domain.errors import NotAuthentic
from broker.doors.google_certificates import GoogleCertificates

SKEW_SECONDS = 30  # ours
MAX_TOKEN_CHARACTERS = 8_192  # ours: they have about 900

# What strange tokens make of a decoder that expects none.
_TROUBLES = (GoogleAuthError, ValueError, TypeError, KeyError, RecursionError, OverflowError)


class _Header(Struct, frozen=True):
    """Google signs by RS256 alone ("Validating an ID token"); `crit` would ask for what nobody here understands."""

    alg: Literal["RS256"]
    kid: str
    crit: Any = None


class _Claims(Struct, frozen=True):
    iss: Literal["https://accounts.google.com", "accounts.google.com"]
    aud: str
    email: str
    email_verified: bool
    iat: int
    exp: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleTokens:
    """
    :param audience: for whom tokens must be made.
    :param service_accounts: who may call, by e-mail address.
    """

    audience: str
    service_accounts: Collection[str]
    certificates: GoogleCertificates

    async def prove(self, token: str) -> None:
        """
        :raises NotAuthentic: it does not prove that one of the service accounts is calling; `detail` is for operators.
        :raises SenderUnavailable: nobody can say.
        """
        if not token or len(token) > MAX_TOKEN_CHARACTERS:
            raise NotAuthentic("no token" if not token else "token")
        header = _header(token)
        pem = await self.certificates.find(header.kid)
        if pem is None:
            raise NotAuthentic("key")
        claims = _claims(token, {header.kid: pem}, self.audience)
        if claims.aud != self.audience:
            raise NotAuthentic("audience")
        if claims.email not in self.service_accounts or not claims.email_verified:
            raise NotAuthentic("service account")


def _header(token: str) -> _Header:
    try:
        header = msgspec.convert(jwt.decode_header(token), _Header)  # type: ignore[no-untyped-call]
    except _TROUBLES as exc:
        raise NotAuthentic("header") from exc
    if header.crit is not None:
        raise NotAuthentic("header")
    return header


def _claims(token: str, certificates: Mapping[str, str], audience: str) -> _Claims:
    """msgspec.ValidationError is a ValueError: whatever is no claim of Google's ends like a bad signature."""
    try:
        claims: Any = jwt.decode(  # type: ignore[no-untyped-call]
            token, certs=certificates, audience=audience, clock_skew_in_seconds=SKEW_SECONDS
        )
    except InvalidValue as exc:
        raise NotAuthentic("time or audience") from exc
    except _TROUBLES as exc:
        raise NotAuthentic("signature") from exc
    try:
        return msgspec.convert(claims, _Claims)
    except msgspec.ValidationError as exc:
        raise NotAuthentic("claims") from exc
