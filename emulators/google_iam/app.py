"""From a request to an answer: read, delay, misbehave when told to, route, refuse as Google does."""

import asyncio
import logging

from aiohttp import web

from emulators.control import PREFIX, small_body
from emulators.google import GoogleError, refusal
from emulators.google_iam import routes, testing
from emulators.google_iam.context import Call, Iam
from emulators.google_iam.faults import HANDING_OUT
from emulators.refusing import Disconnect, hang_up, refuse

log = logging.getLogger(__name__)


class App:
    """The handler of one process. What comes before `iam` is there – it knows the endpoint – waits for it."""

    def __init__(self, iam: asyncio.Future[Iam]) -> None:
        self._iam = iam

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        iam = await self._iam
        try:
            return await _answer(iam, http)
        except GoogleError as exc:
            iam.counters.refused[f"{exc.code} {exc.status}"] += 1
            log.info("event=request.refused code=%d path=%s reason=%s", exc.code, http.path, exc.message)
            return await refuse(http, refusal(exc))
        except Disconnect as exc:
            return hang_up(http, exc)
        except (ConnectionError, web.RequestPayloadError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("event=request.failed path=%s", http.path)
            return await refuse(http, refusal(GoogleError("INTERNAL", "Internal error encountered.")))


async def _answer(iam: Iam, http: web.BaseRequest) -> web.StreamResponse:
    if http.path.startswith(PREFIX) and http.path.removeprefix(PREFIX) in {"faults", "counters"}:
        return await testing.serve(Call(iam=iam, http=http, path=http.path, body=b""))
    body = await small_body(http)
    if body is None:
        raise GoogleError("INVALID_ARGUMENT", "Request payload size exceeds the limit.", code=413)
    call = Call(iam=iam, http=http, path=http.path, body=body)
    if http.path.startswith(PREFIX):
        return await testing.serve(call)
    route = routes.find(http.method, http.path)
    iam.counters.requests[route.name] += 1
    if route.name in HANDING_OUT and iam.settings.latency_seconds:
        await asyncio.sleep(iam.settings.latency_seconds)
    return await iam.faults.befall(route.name) or await route.operation(call)
