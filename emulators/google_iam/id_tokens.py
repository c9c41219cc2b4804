"""OpenID Connect tokens of Google's issuer: https://cloud.google.com/docs/authentication/token-types#id."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from emulators.google_iam import jwt
from emulators.google_iam.context import GOOGLE, Call

LIFETIME_SECONDS: Final = 3600
ISSUER: Final = "https://accounts.google.com"


def unique_id(email: str) -> str:
    """A service account's numeric id, always the same for an address."""
    return "1" + f"{int.from_bytes(hashlib.sha256(email.encode()).digest()[:8]):020d}"


async def id_token(
    call: Call, email: str, audience: str, *, with_email: bool, claims: Mapping[str, Any] | None = None
) -> str:
    """A signed token. `claims` replace what would be said; null leaves a claim out."""
    now = int(call.now)
    told: dict[str, Any] = {
        "iss": ISSUER,
        "aud": audience,
        "azp": unique_id(email),
        "sub": unique_id(email),
        "iat": now,
        "exp": now + LIFETIME_SECONDS,
    }
    if with_email:
        told |= {"email": email, "email_verified": True}
    told |= claims or {}
    key = await call.iam.keys.newest(GOOGLE)
    return jwt.encode(key, {name: value for name, value in told.items() if value is not None})
