"""What tests may do beyond faults and counters, below `/_emulator/`; nothing here is authenticated.

- `POST id-tokens {"email", "audience", "claims"}` → `{"token"}`: Google's signature over what a test wants
- `GET subject-token`: a fresh token of the external identity provider, as text
- `POST rotate {"email", "forget"}`: sign with a new key – the issuer's of ID tokens without an email; `forget`
  unpublishes the older ones
- `PUT grants {"impersonate", "delegate"}`: replace all grants, spelled as on the command line
"""

from typing import Any

import msgspec
from aiohttp import web

from emulators.control import control, json_answer
from emulators.google import GoogleError, decoded
from emulators.google_iam.context import GOOGLE, Call
from emulators.google_iam.faults import FaultSettings
from emulators.google_iam.id_tokens import id_token
from emulators.google_iam.settings import WORKLOAD, Grant
from emulators.google_iam.sts import subject_token


class _IdToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    email: str
    audience: str
    claims: dict[str, Any] = {}


class _Rotate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    email: str = GOOGLE
    forget: bool = False


class _Grants(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    impersonate: tuple[str, ...] = ()
    delegate: tuple[str, ...] = ()


async def serve(call: Call) -> web.Response:
    match call.http.method, call.path.removeprefix("/_emulator/"):
        case "POST", "id-tokens":
            asked = decoded(call.body, _IdToken)
            text = await id_token(call, asked.email, asked.audience, with_email=True, claims=asked.claims)
            return json_answer({"token": text})
        case "GET", "subject-token":
            return web.Response(text=await subject_token(call.iam, WORKLOAD))
        case "POST", "rotate":
            return await _rotate(call, decoded(call.body, _Rotate))
        case "PUT", "grants":
            return _grant(call, decoded(call.body, _Grants))
    return await control(call.http, call.iam.faults, FaultSettings, call.iam.counters.as_json)


async def _rotate(call: Call, asked: _Rotate) -> web.Response:
    if asked.email not in {GOOGLE, *call.iam.settings.known}:
        raise GoogleError("NOT_FOUND", f"There is no {asked.email}.")
    key = await call.iam.keys.rotate(asked.email)
    if asked.forget:
        call.iam.keys.forget(asked.email)
    return json_answer({"keyId": key.kid})


def _grant(call: Call, asked: _Grants) -> web.Response:
    try:
        call.iam.grants.replace(map(Grant.parse, asked.impersonate), map(Grant.parse, asked.delegate))
    except ValueError as exc:
        return web.Response(status=422, text=f"{exc}\n")
    return json_answer(asked)
