"""The control plane of tests: `GET`, `PUT` and `POST /_emulator/faults`, `GET /_emulator/counters`.

    if http.path.startswith(PREFIX):
        return await control(http, faults, FaultSettings, counters.as_json)

`GET faults` answers the settings, `PUT` (or `POST`) replaces them – what is left out goes back to harmless –, and they
apply from then on. Nothing here is signed. `_emulator` can be no bucket – bucket names of S3 and of Google have no
underscore in front –, so no client of a store gets here by accident.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from emulators.faults import Faults, Settings

PREFIX: Final = "/_emulator/"
MAX_BODY_BYTES: Final = 65_536


async def control(
    http: web.BaseRequest,
    faults: Faults[Settings],
    settings: type[Settings],
    counters: Callable[[], Mapping[str, Any]],
) -> web.Response:
    """Answer one request under `PREFIX`."""
    match http.method, http.path.removeprefix(PREFIX):
        case "GET", "faults":
            return json_answer(faults.settings)
        case "PUT" | "POST", "faults":
            return await _replace(http, faults, settings)
        case "GET", "counters":
            return json_answer(counters())
    return web.Response(status=404, text="GET|PUT /_emulator/faults, GET /_emulator/counters\n")


async def _replace(http: web.BaseRequest, faults: Faults[Settings], settings: type[Settings]) -> web.Response:
    body = await small_body(http)
    if body is None:
        return web.Response(status=413)
    try:
        told = msgspec.json.decode(body, type=settings)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        return web.Response(status=422, text=f"{exc}\n")
    faults.set(told)
    return json_answer(told)


async def small_body(http: web.BaseRequest) -> bytes | None:
    """The whole body; none when it is longer than `MAX_BODY_BYTES`."""
    body = b""
    while data := await http.content.readany():
        body += data
        if len(body) > MAX_BODY_BYTES:
            return None
    return body


def json_answer(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")
