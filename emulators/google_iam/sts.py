"""`POST /v1/token`: Security Token Service, a token of an external identity provider for a federated access token.

https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token (RFC 8693). The only provider is the
emulator's own: its subject tokens are in the file that the workload identity file names, and at
`GET /_emulator/subject-token`.
"""

import time
from typing import Final

from aiohttp import web

from emulators.control import json_answer
from emulators.google import oauth_error
from emulators.google_iam import jwt
from emulators.google_iam.context import IDENTITY_PROVIDER, Call, Iam
from emulators.google_iam.oauth import check_scopes, form
from emulators.google_iam.settings import POOL, PROVIDER

TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a name
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105
SUBJECT_TYPES: Final = {"urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"}
ISSUER: Final = f"https://{IDENTITY_PROVIDER}"
SUBJECT_SECONDS: Final = 24 * 3600  # what Google accepts at most of an OIDC token


async def exchange(call: Call) -> web.Response:
    """Serve the route."""
    fields = form(call)
    if fields.get("grant_type") != TOKEN_EXCHANGE:
        raise oauth_error("unsupported_grant_type", "Invalid value for 'grantType'.")
    if fields.get("requested_token_type") != ACCESS_TOKEN:
        raise oauth_error("invalid_request", "Invalid value for 'requestedTokenType'.")
    if fields.get("subject_token_type") not in SUBJECT_TYPES:
        raise oauth_error("invalid_request", "Invalid value for 'subjectTokenType'.")
    if fields.get("audience") != PROVIDER:
        raise oauth_error("invalid_target", 'The target service indicated by the "audience" parameters is invalid.')
    scopes = tuple(fields.get("scope", "").split())
    check_scopes(scopes, oauth_error("invalid_scope", "Invalid value for 'scope'."))
    principal = f"principal:{POOL}/subject/{await _subject(call, fields.get('subject_token', ''))}"
    text, bearer = call.iam.grant_token(principal, scopes, call.iam.settings.token_seconds)
    return json_answer(
        {
            "access_token": text,
            "issued_token_type": ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": round(bearer.expires_at - call.now),
        }
    )


async def _subject(call: Call, token: str) -> str:
    try:
        claims = jwt.verified(token, await call.iam.keys.certificates(IDENTITY_PROVIDER))
    except jwt.BadToken as exc:
        raise oauth_error("invalid_grant", str(exc)) from exc
    if claims.get("iss") != ISSUER:
        raise oauth_error("invalid_grant", "The issuer in ID Token does not match the expected ones.")
    if claims.get("aud") != f"https:{PROVIDER}":
        raise oauth_error("invalid_grant", "The audience in ID Token does not match the expected audience.")
    expires, subject = claims.get("exp"), claims.get("sub")
    if not isinstance(expires, int | float) or expires <= call.now:
        raise oauth_error("invalid_grant", "ID Token issued at is stale to sign-in.")
    if not isinstance(subject, str) or not subject:
        raise oauth_error("invalid_grant", "The mapped attribute google.subject is missing.")
    return subject


async def subject_token(iam: Iam, subject: str) -> str:
    """What the external provider gives its workload."""
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": subject, "aud": f"https:{PROVIDER}", "iat": now, "exp": now + SUBJECT_SECONDS}
    return jwt.encode(await iam.keys.newest(IDENTITY_PROVIDER), claims)
