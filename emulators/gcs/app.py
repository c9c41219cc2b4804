"""From a request on the wire to an answer on the wire: split, authenticate, route, refuse readably."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from emulators.control import PREFIX, control
from emulators.gcs import cors, request, routes
from emulators.gcs.access import Authenticator
from emulators.gcs.context import Call, Reply, Slice, Store
from emulators.gcs.errors import JSON, XML, GcsError
from emulators.gcs.faults import FaultSettings
from emulators.refusing import Disconnect, hang_up, refuse

log = logging.getLogger(__name__)

SERVER: Final = "upload-broker-emulator-gcs"


class App:
    """The handler of one process."""

    def __init__(self, store: Store, authenticator: Authenticator) -> None:
        self._store = store
        self._authenticator = authenticator

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        gcs: request.GcsRequest | None = None
        try:
            if http.raw_path.startswith(PREFIX):
                return await control(http, self._store.faults, FaultSettings, self._counters)
            gcs = request.parse(
                method=http.method, target=http.raw_path, raw_headers=http.raw_headers, source_ip=http.remote or ""
            )
            return await self._answer(http, gcs)
        except GcsError as exc:
            return await self._refuse(http, gcs, exc)
        except Disconnect as exc:
            return hang_up(http, exc)
        except ConnectionError:
            return hang_up(http, Disconnect())
        except Exception:
            log.exception("event=request.failed")
            return await self._refuse(http, gcs, GcsError("InternalError"))

    def _counters(self) -> Mapping[str, Any]:
        counters = self._store.counters.as_json()
        counters["events"]["waiting"] = self._store.outbox.waiting
        return counters

    async def _answer(self, http: web.BaseRequest, gcs: request.GcsRequest) -> web.StreamResponse:
        store = self._store
        if gcs.method == "OPTIONS":
            store.counters.requests["preflight"] += 1
            return web.Response(headers={"Server": SERVER, **cors.preflight(store, gcs)})
        route = routes.find(gcs)
        store.counters.requests[route.name] += 1
        if store.faults.hits("unavailable"):
            raise GcsError("ServiceUnavailable")
        if store.faults.hits("rate_limited"):
            raise GcsError("TooManyRequests")
        caller = None if gcs.upload_id is not None else await self._authenticator.caller(gcs)
        reply = await route.operation(store, Call(http=http, request=gcs, caller=caller))
        if reply.is_write:
            return await self._spoilt(http, gcs, reply)
        return await self._send(http, gcs, reply)

    async def _spoilt(self, http: web.BaseRequest, gcs: request.GcsRequest, reply: Reply) -> web.StreamResponse:
        """What was done is done; whether the client hears of it is another matter."""
        faults = self._store.faults
        if faults.hits("response_lost"):
            raise Disconnect
        if faults.hits("unavailable_after_commit"):
            raise GcsError("ServiceUnavailable")
        if faults.hits("answer_stalled"):
            await faults.stall()
        if isinstance(reply.body, bytes) and reply.body and faults.hits("truncated_answer"):
            response = web.StreamResponse(status=reply.status, headers=self._headers(gcs, reply))
            response.content_length = len(reply.body)
            await response.prepare(http)
            await response.write(reply.body[: len(reply.body) // 2])
            raise Disconnect
        return await self._send(http, gcs, reply)

    def _headers(self, gcs: request.GcsRequest, reply: Reply) -> dict[str, str]:
        return {"Server": SERVER, **reply.headers, **cors.response_headers(self._store, gcs)}

    async def _send(self, http: web.BaseRequest, gcs: request.GcsRequest, reply: Reply) -> web.StreamResponse:
        headers = self._headers(gcs, reply)
        if not isinstance(reply.body, Slice):
            return web.Response(status=reply.status, headers=headers, body=reply.body or None)
        response = web.StreamResponse(status=reply.status, headers=headers)
        await response.prepare(http)
        if http.method != "HEAD":
            await self._stream(response, reply.body)
        return response

    async def _stream(self, response: web.StreamResponse, body: Slice) -> None:
        faults, counters = self._store.faults, self._store.counters
        with self._store.blobs.reading(body.segments):
            data = self._store.blobs.read(body.segments, body.start, body.length, faults.step_bytes)
            for piece in faults.outgoing(data, body.length):
                await faults.brake(len(piece))
                await response.write(piece)
                counters.bytes_out += len(piece)

    async def _refuse(
        self, http: web.BaseRequest, gcs: request.GcsRequest | None, error: GcsError
    ) -> web.StreamResponse:
        self._store.counters.refused[error.code] += 1
        log.info("event=request.refused code=%s", error.code)
        is_json = gcs is not None and gcs.api == "json"
        headers = {"Server": SERVER, "Content-Type": JSON if is_json else XML, **error.headers}
        body: bytes | None = error.as_json() if is_json else error.as_xml()
        if error.code == "OffsetGap":  # the one refusal that the service words in plain text, which SDKs look for
            headers["Content-Type"], body = "text/plain; charset=utf-8", error.details.encode()
        if http.method == "HEAD" or error.status == 304:
            body = None
        if gcs is not None:
            headers |= cors.response_headers(self._store, gcs)
        return await refuse(http, web.Response(status=error.status, headers=headers, body=body))
