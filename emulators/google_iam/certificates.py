"""Public keys, in the three shapes that Google publishes, and what an access token says (`tokeninfo`).

- `GET /robot/v1/metadata/x509/EMAIL`: `{kid: certificate}` of a service account
- `GET /oauth2/v1/certs`: `{kid: certificate}` of the issuer of ID tokens; `GET /oauth2/v3/certs`: the same as JWKS
"""

import base64
import time

from aiohttp import web

from emulators.control import json_answer
from emulators.google import GoogleError, oauth_error
from emulators.google_iam.context import GOOGLE, Call
from emulators.google_iam.keys import SigningKey


async def x509_of(call: Call, email: str) -> web.Response:
    if email not in call.iam.settings.known:
        raise GoogleError("NOT_FOUND", f"Service account {email} not found.")
    return await _pems(call, email)


async def oauth2_v1(call: Call) -> web.Response:
    return await _pems(call, GOOGLE)


async def oauth2_v3(call: Call) -> web.Response:
    keys = await call.iam.keys.certificates(GOOGLE)
    return _cached(call, json_answer({"keys": [_jwk(key) for key in keys.values()]}))


async def token_info(call: Call) -> web.Response:
    """What a resource server asks before it believes a token."""
    try:
        bearer = call.iam.tokens.read(call.http.query.get("access_token", ""))
    except GoogleError as exc:
        raise oauth_error("invalid_token", "Invalid Value") from exc
    return json_answer(
        {
            "email": bearer.who,
            "scope": " ".join(bearer.scopes),
            "expires_in": max(0, int(bearer.expires_at - time.time())),
        }
    )


async def _pems(call: Call, owner: str) -> web.Response:
    keys = await call.iam.keys.certificates(owner)
    return _cached(call, json_answer({kid: key.certificate_pem for kid, key in keys.items()}))


def _cached(call: Call, answer: web.Response) -> web.Response:
    answer.headers["Cache-Control"] = (
        f"public, max-age={call.iam.settings.certificates_max_age_seconds}, must-revalidate, no-transform"
    )
    return answer


def _jwk(key: SigningKey) -> dict[str, str]:
    numbers = key.public.public_numbers()
    return {
        "kid": key.kid,
        "kty": "RSA",
        "alg": "RS256",
        "use": "sig",
        "n": _integer(numbers.n),
        "e": _integer(numbers.e),
    }


def _integer(value: int) -> str:
    """Base64urlUInt: RFC 7518, section 2."""
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8)).rstrip(b"=").decode()
