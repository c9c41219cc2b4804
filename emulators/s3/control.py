"""The control plane of tests: settings of faults, and counters. See `faults.py` for why no S3 client finds it."""

from typing import Final

import msgspec
from aiohttp import web

from emulators.s3.context import Store
from emulators.s3.faults import FaultSettings

PREFIX: Final = "/_emulator/"
MAX_BODY_BYTES: Final = 65_536


async def handle(store: Store, http: web.BaseRequest) -> web.Response:
    """Answer one request under `PREFIX`."""
    match http.method, http.path.removeprefix(PREFIX):
        case "GET", "faults":
            return _json(store.faults.settings)
        case "PUT", "faults":
            return await _put_faults(store, http)
        case "GET", "counters":
            counters = store.counters.as_json()
            counters["events"]["waiting"] = store.notifier.waiting
            return _json(counters)
    return web.Response(status=404, text="GET|PUT /_emulator/faults, GET /_emulator/counters\n")


async def _put_faults(store: Store, http: web.BaseRequest) -> web.Response:
    body = b""
    while data := await http.content.readany():
        body += data
        if len(body) > MAX_BODY_BYTES:
            return web.Response(status=413)
    try:
        settings = msgspec.json.decode(body, type=FaultSettings)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        return web.Response(status=422, text=f"{exc}\n")
    store.faults.set(settings)
    return _json(settings)


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
