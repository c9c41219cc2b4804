"""The metadata server of a Compute Engine machine: https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys.

Clients find it by `GCE_METADATA_HOST` and `GCE_METADATA_IP`.
"""

from typing import Final

from aiohttp import web

from emulators.control import json_answer
from emulators.google_iam.context import Call
from emulators.google_iam.id_tokens import id_token
from emulators.google_iam.settings import PROJECT, PROJECT_NUMBER
from emulators.google_iam.tokens import CLOUD_PLATFORM

PREFIX: Final = "/computeMetadata/v1/"
FLAVOR: Final = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
ACCOUNTS: Final = "instance/service-accounts/"

PLAIN: Final = {
    "": "computeMetadata/\n",
    "project/project-id": PROJECT,
    "project/numeric-project-id": PROJECT_NUMBER,
    "universe/universe-domain": "googleapis.com",
    "universe/universe_domain": "googleapis.com",
}


async def serve(call: Call) -> web.Response:
    """Answer below `PREFIX`, or the ping at `/`."""
    if call.http.headers.get("Metadata-Flavor") != "Google" or "X-Forwarded-For" in call.http.headers:
        answer = web.Response(status=403, text="Missing required header: Metadata-Flavor: Google\n")
    elif call.http.method != "GET":
        answer = web.Response(status=405, text="Method Not Allowed\n")
    else:
        answer = await _answer(call, call.path.removeprefix(PREFIX).removeprefix("/"))
    answer.headers.update(FLAVOR)
    return answer


async def _answer(call: Call, key: str) -> web.Response:
    email = call.iam.settings.metadata_account
    account, _, item = key.removeprefix(ACCOUNTS).partition("/")
    if key in PLAIN:
        return web.Response(text=PLAIN[key])
    if not key.startswith(ACCOUNTS) or account not in {"default", email}:
        return _not_found()
    match item:
        case "token":
            return _token(call, email)
        case "identity":
            return await _identity(call, email)
    return _told(call, email, item)


def _told(call: Call, email: str, item: str) -> web.Response:
    if item == "" and call.http.query.get("recursive") == "true":
        return json_answer({"aliases": ["default"], "email": email, "scopes": [CLOUD_PLATFORM]})
    texts = {"email": email, "scopes": f"{CLOUD_PLATFORM}\n"}
    return web.Response(text=texts[item]) if item in texts else _not_found()


def _token(call: Call, email: str) -> web.Response:
    scopes = tuple(each for each in call.http.query.get("scopes", "").split(",") if each) or (CLOUD_PLATFORM,)
    text, bearer = call.iam.grant_token(email, scopes, call.iam.settings.token_seconds)
    return json_answer({"access_token": text, "expires_in": int(bearer.expires_at - call.now), "token_type": "Bearer"})


async def _identity(call: Call, email: str) -> web.Response:
    audience = call.http.query.get("audience", "")
    if not audience:
        return web.Response(status=400, text="non-empty audience parameter required\n")
    is_full = call.http.query.get("format") == "full"
    return web.Response(text=await id_token(call, email, audience, with_email=is_full))


def _not_found() -> web.Response:
    return web.Response(status=404, text="The requested URL was not found on this server.\n")
