"""From a request on the wire to an answer on the wire: split, authenticate, route, refuse readably.

One handler under aiohttp's low-level server, with no router between: a router would normalise the paths whose bytes
were signed, and would answer `Expect: 100-continue` before the headers were judged.
"""

import logging
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from emulators.control import PREFIX, control
from emulators.refusing import Disconnect, hang_up, refuse
from emulators.s3 import cors, request, routes
from emulators.s3.context import XML, Call, Reply, Slice, Store
from emulators.s3.errors import S3Error
from emulators.s3.faults import FaultSettings
from emulators.s3.keeping import check_owner
from emulators.s3.sigv4 import Verifier
from emulators.s3.xml import Node, document

log = logging.getLogger(__name__)

SERVER: Final = "upload-broker-emulator-s3"


class App:
    """The handler of one process."""

    def __init__(self, store: Store, verifier: Verifier) -> None:
        self._store = store
        self._verifier = verifier

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        request_id = secrets.token_hex(8).upper()
        s3: request.S3Request | None = None
        try:
            s3 = request.parse(
                method=http.method,
                target=http.raw_path,
                raw_headers=http.raw_headers,
                domains=self._store.settings.domains,
                source_ip=http.remote or "",
            )
            if not s3.is_virtual_host and s3.raw_path.startswith(PREFIX):
                return await control(http, self._store.faults, FaultSettings, self._counters)
            return await self._answer(http, s3, request_id)
        except S3Error as exc:
            return await self._refuse(http, s3, exc, request_id)
        except Disconnect as exc:
            return hang_up(http, exc)
        except ConnectionError:
            return hang_up(http, Disconnect())
        except Exception:
            log.exception("event=request.failed request_id=%s", request_id)
            return await self._refuse(http, s3, S3Error("InternalError"), request_id)

    def _counters(self) -> Mapping[str, Any]:
        counters = self._store.counters.as_json()
        counters["events"]["waiting"] = self._store.notifier.waiting
        return counters

    async def _answer(self, http: web.BaseRequest, s3: request.S3Request, request_id: str) -> web.StreamResponse:
        if s3.method == "OPTIONS":
            self._store.counters.requests["Preflight"] += 1
            headers = cors.preflight(self._rules(s3), s3)
            return await self._send(http, Reply(headers=headers), headers, request_id)
        route = routes.find(s3)
        self._store.counters.requests[route.name] += 1
        if self._store.faults.hits("slow_down"):
            raise S3Error("SlowDown", headers={"Retry-After": "1"})
        signed = self._verifier.verify(s3, datetime.now(UTC))
        check_owner(s3, self._store.catalogue.bucket(s3.bucket) if s3.bucket else None)
        call = Call(http=http, request=s3, signed=signed, request_id=request_id)
        reply = await route.operation(self._store, call)
        if s3.method in {"PUT", "POST", "DELETE"} and self._store.faults.hits("response_lost"):
            raise Disconnect
        return await self._send(http, reply, cors.response_headers(self._rules(s3), s3), request_id)

    def _rules(self, s3: request.S3Request) -> list[cors.Rule]:
        if s3.header("origin") is None and s3.method != "OPTIONS":
            return []
        bucket = self._store.catalogue.bucket(s3.bucket) if s3.bucket else None
        return cors.rules_of(bucket, self._store.settings.cors_origins)

    async def _send(
        self, http: web.BaseRequest, reply: Reply, extra: Mapping[str, str], request_id: str
    ) -> web.StreamResponse:
        headers = {"Server": SERVER, "x-amz-request-id": request_id, "x-amz-id-2": request_id, **reply.headers, **extra}
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
        self, http: web.BaseRequest, s3: request.S3Request | None, error: S3Error, request_id: str
    ) -> web.StreamResponse:
        self._store.counters.refused[error.code] += 1
        log.info("event=request.refused code=%s request_id=%s", error.code, request_id)
        headers = {"Server": SERVER, "Content-Type": XML, "x-amz-request-id": request_id, "x-amz-id-2": request_id}
        headers |= error.headers
        body = None
        if http.method != "HEAD" and error.status != 304:
            body = _error_document(error, s3.resource if s3 else "", request_id)
        if s3 is not None:
            headers |= cors.response_headers(self._rules(s3), s3)
        return await refuse(http, web.Response(status=error.status, headers=headers, body=body))


def _error_document(error: S3Error, resource: str, request_id: str) -> bytes:
    nodes: list[Node] = [("Code", error.code), ("Message", error.message), *error.fields.items()]
    nodes += [("Resource", resource), ("RequestId", request_id), ("HostId", request_id)]
    return document("Error", nodes, namespace=None)
