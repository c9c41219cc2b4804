"""From a request on the wire to an answer on the wire: split, authenticate, route, refuse readably.

One handler under aiohttp's low-level server, with no router between: a router would normalise the paths whose bytes
were signed, and would answer `Expect: 100-continue` before the headers were judged.
"""

import asyncio
import logging
import secrets
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from emulators.s3 import control, cors, request, routes
from emulators.s3.context import XML, Call, Reply, Slice, Store
from emulators.s3.errors import Disconnect, S3Error
from emulators.s3.faults import Reset, reset
from emulators.s3.keeping import check_owner
from emulators.s3.sigv4 import Verifier
from emulators.s3.xml import Node, document

log = logging.getLogger(__name__)

SERVER: Final = "upload-broker-emulator-s3"
MAX_DISCARDED_BYTES: Final = 64 * 2**20
MAX_DISCARD_SECONDS: Final = 5.0


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
            if not s3.is_virtual_host and s3.raw_path.startswith(control.PREFIX):
                return await control.handle(self._store, http)
            return await self._answer(http, s3, request_id)
        except S3Error as exc:
            return await self._refuse(http, s3, exc, request_id)
        except Disconnect as exc:
            return _hang_up(http, is_reset=isinstance(exc, Reset))
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("event=request.failed request_id=%s", request_id)
            return await self._refuse(http, s3, S3Error("InternalError"), request_id)

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
        response = web.Response(status=error.status, headers=headers, body=body)
        if not http.content.is_eof():
            await _refuse_body(http, response)
        return response


def _error_document(error: S3Error, resource: str, request_id: str) -> bytes:
    nodes: list[Node] = [("Code", error.code), ("Message", error.message), *error.fields.items()]
    nodes += [("Resource", resource), ("RequestId", request_id), ("HostId", request_id)]
    return document("Error", nodes, namespace=None)


async def _refuse_body(http: web.BaseRequest, response: web.Response) -> None:
    """Answer while the body is still under way, then swallow some of the rest.

    To close at once would reset the connection, and the client would lose the answer with it. A client that waits
    for `100 Continue` has sent nothing yet: its connection just ends.
    """
    response.force_close()
    await response.prepare(http)
    await response.write_eof()
    if http.transport is not None and http.transport.can_write_eof():
        http.transport.write_eof()
    discarded = 0
    with suppress(TimeoutError, ConnectionError, web.RequestPayloadError):
        async with asyncio.timeout(MAX_DISCARD_SECONDS):
            while discarded < MAX_DISCARDED_BYTES and (data := await http.content.readany()):
                discarded += len(data)


def _hang_up(http: web.BaseRequest, *, is_reset: bool) -> web.StreamResponse:
    """No answer. aiohttp wants a response object all the same; nothing of it reaches the wire."""
    if http.transport is not None:
        if is_reset:
            reset(http.transport)
        else:
            http.transport.close()
    raise ConnectionResetError
