"""`POST /token`: an assertion that a service account signed with the key of its key file, for a token.

https://developers.google.com/identity/protocols/oauth2/service-account#httprest – and
https://cloud.google.com/docs/authentication/get-id-token for `target_audience`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web

from emulators.control import json_answer
from emulators.google import GoogleError, oauth_error
from emulators.google_iam import jwt
from emulators.google_iam.context import Call
from emulators.google_iam.id_tokens import id_token

JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"  # RFC 7523
TOKEN_URI: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
MAX_LIFETIME_SECONDS: Final = 3600  # "exp: this value has a maximum of 1 hour after the issued time"
SKEW_SECONDS: Final = 60
_SCOPE: Final = re.compile(r"openid|email|profile|https://www\.googleapis\.com/auth/[\w.-]+")


def form(call: Call) -> Mapping[str, str]:
    """The fields of a form.

    :raises GoogleError: when it is none, or says something twice.
    """
    if call.http.content_type != "application/x-www-form-urlencoded":
        raise oauth_error("invalid_request", "The body is not application/x-www-form-urlencoded.")
    try:
        pairs = parse_qsl(call.body.decode(), keep_blank_values=True, strict_parsing=True)
    except ValueError as exc:
        raise oauth_error("invalid_request", "The body is no form.") from exc
    if len({name for name, _ in pairs}) != len(pairs):
        raise oauth_error("invalid_request", "A parameter is repeated.")
    return dict(pairs)


async def token(call: Call) -> web.Response:
    """Serve the route."""
    fields = form(call)
    if fields.get("grant_type") != JWT_BEARER:
        raise oauth_error("unsupported_grant_type", f"Invalid grant_type: {fields.get('grant_type', '')}")
    email, claims = await _asserted(call, fields.get("assertion", ""))
    if isinstance(audience := claims.get("target_audience"), str) and audience:
        return json_answer({"id_token": await id_token(call, email, audience, with_email=True)})
    scopes = _scopes(claims)
    text, bearer = call.iam.grant_token(email, scopes, call.iam.settings.token_seconds)
    return json_answer(
        {"access_token": text, "expires_in": round(bearer.expires_at - call.now), "token_type": "Bearer"}
    )


async def _asserted(call: Call, assertion: str) -> tuple[str, dict[str, Any]]:
    """Who signed an assertion, and what it says."""
    try:
        email = jwt.unverified(assertion).get("iss")
        if not isinstance(email, str) or email not in call.iam.settings.accounts:
            raise oauth_error("invalid_grant", "Invalid grant: account not found")
        claims = jwt.verified(assertion, await call.iam.keys.certificates(email))
    except jwt.BadToken as exc:
        raise oauth_error("invalid_grant", str(exc)) from exc
    if claims.get("aud") not in {TOKEN_URI, f"{call.iam.endpoint}/token"}:
        raise oauth_error("invalid_grant", "Invalid JWT: Failed audience check")
    if claims.get("sub", email) != email:
        refused = (
            "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of "
            "the scopes requested."
        )
        raise oauth_error("unauthorized_client", refused, 401)
    check_times(claims, call.now)
    return email, claims


def check_times(claims: Mapping[str, Any], now: float) -> None:
    """:raises GoogleError: for a token that is not of this hour."""
    issued, expires = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int | float) or not isinstance(expires, int | float):
        raise oauth_error("invalid_grant", "Invalid JWT: iat and exp must be numbers.")
    is_reasonable = issued <= now + SKEW_SECONDS and expires > now and issued < expires
    if not is_reasonable or expires - issued > MAX_LIFETIME_SECONDS:
        text = (
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat "
            "and exp values in the JWT claim."
        )
        raise oauth_error("invalid_grant", text)


def _scopes(claims: Mapping[str, Any]) -> tuple[str, ...]:
    scope = claims.get("scope")
    scopes = tuple(scope.split()) if isinstance(scope, str) else ()
    if not scopes:
        raise oauth_error("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
    check_scopes(scopes, oauth_error("invalid_scope", "Invalid OAuth scope or ID token audience provided."))
    return scopes


def check_scopes(scopes: tuple[str, ...], refused: GoogleError) -> None:
    """:raises GoogleError: `refused`, for what cannot be a scope."""
    if not scopes or not all(_SCOPE.fullmatch(each) for each in scopes):
        raise refused
