"""The IAM Service Account Credentials API, and `testIamPermissions` of the IAM API.

https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts
"""

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from emulators.control import json_answer
from emulators.google import GoogleError, decoded
from emulators.google_iam.context import Call
from emulators.google_iam.grants import GET_ACCESS_TOKEN, GET_OPEN_ID_TOKEN, SIGN_BLOB
from emulators.google_iam.id_tokens import id_token
from emulators.google_iam.oauth import check_scopes
from emulators.google_iam.settings import PROJECT

PREFIX: Final = "projects/-/serviceAccounts/"  # "the - wildcard character is required; a project ID is invalid"
DEFAULT_LIFETIME: Final = "3600s"
MAX_LIFETIME_SECONDS: Final = 3600.0  # generateAccessToken, `lifetime`: by default at most one hour
T = TypeVar("T")
_DURATION: Final = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s")


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Null is as good as absent, as everywhere in proto3's JSON."""

    delegates: tuple[str, ...] | None = None


class _AccessToken(_Request, frozen=True, forbid_unknown_fields=True):
    scope: tuple[str, ...] | None = None
    lifetime: str | None = None


class _Blob(_Request, frozen=True, forbid_unknown_fields=True):
    payload: str | None = None


class _IdToken(_Request, frozen=True, rename="camel", forbid_unknown_fields=True):
    audience: str | None = None
    include_email: bool | None = None
    organization_number_included: bool | None = None
    use_email_azp: bool | None = None


class _Permissions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    permissions: tuple[str, ...]


async def generate_access_token(call: Call, target: str) -> web.Response:
    asked = _asked(call, _AccessToken)
    scopes = asked.scope or ()
    check_scopes(scopes, _invalid("scope", "must name at least one OAuth scope, and nothing that is none"))
    seconds = _lifetime(asked.lifetime or DEFAULT_LIFETIME)
    call.iam.grants.demand(GET_ACCESS_TOKEN, call.caller().who, _delegates(asked), target)
    text, bearer = call.iam.grant_token(target, scopes, seconds)
    expires = datetime.fromtimestamp(int(bearer.expires_at), UTC)
    return json_answer({"accessToken": text, "expireTime": expires.strftime("%Y-%m-%dT%H:%M:%SZ")})


async def sign_blob(call: Call, target: str) -> web.Response:
    asked = _asked(call, _Blob)
    try:
        payload = base64.b64decode(asked.payload or "", validate=True)
    except (binascii.Error, ValueError) as exc:
        raise _invalid("payload", "is not Base64") from exc
    if not payload:
        raise _invalid("payload", "is required")
    call.iam.grants.demand(SIGN_BLOB, call.caller().who, _delegates(asked), target)
    call.iam.faults.meter()
    key = await call.iam.keys.newest(target)
    call.iam.counters.signatures[target] += 1
    return json_answer({"keyId": key.kid, "signedBlob": base64.b64encode(key.sign(payload)).decode()})


async def generate_id_token(call: Call, target: str) -> web.Response:
    asked = _asked(call, _IdToken)
    if not asked.audience:
        raise _invalid("audience", "is required")
    call.iam.grants.demand(GET_OPEN_ID_TOKEN, call.caller().who, _delegates(asked), target)
    claims = {"azp": target} if asked.use_email_azp else None
    text = await id_token(call, target, asked.audience, with_email=bool(asked.include_email), claims=claims)
    return json_answer({"token": text})


async def test_iam_permissions(call: Call, target: str) -> web.Response:
    """Which of the named permissions the caller has; of an account that does not exist, nobody has any."""
    asked = _asked(call, _Permissions)
    held = call.iam.grants.permissions(call.caller().who, target)
    had = [each for each in asked.permissions if each in held]
    return json_answer({"permissions": had} if had else {})


OPERATIONS: Final = {
    "generateAccessToken": generate_access_token,
    "signBlob": sign_blob,
    "generateIdToken": generate_id_token,
    "testIamPermissions": test_iam_permissions,
}


def target_of(resource: str, operation: str) -> str:
    """The service account in `projects/-/serviceAccounts/EMAIL`; the IAM API, unlike Credentials, takes a project, too.

    :raises GoogleError: INVALID_ARGUMENT.
    """
    project = resource.split("/")[1]
    if project != "-" and not (operation == "testIamPermissions" and project == PROJECT):
        raise _invalid("name", "must be projects/-/serviceAccounts/{ACCOUNT_EMAIL_OR_UNIQUEID}")
    return resource.rpartition("/")[2]


def _asked(call: Call, type_: type[T]) -> T:
    if call.http.content_type != "application/json":
        raise GoogleError("INVALID_ARGUMENT", "Invalid JSON payload received. Content-Type is not application/json.")
    return decoded(call.body, type_)


def _delegates(asked: _Request) -> list[str]:
    named = asked.delegates or ()
    if any(not each.startswith(PREFIX) or "@" not in each for each in named):
        raise _invalid("delegates", f"must each be {PREFIX}{{ACCOUNT_EMAIL_OR_UNIQUEID}}")
    return [each.removeprefix(PREFIX) for each in named]


def _lifetime(text: str) -> float:
    found = _DURATION.fullmatch(text)
    if found is None or not 0 < float(found[1]) <= MAX_LIFETIME_SECONDS:
        raise _invalid("lifetime", f"must be above 0s and at most {MAX_LIFETIME_SECONDS:.0f}s")
    return float(found[1])


def _invalid(field: str, why: str) -> GoogleError:
    return GoogleError("INVALID_ARGUMENT", f"Invalid value at '{field}': it {why}.")
