"""A small strict broker and a small strict store on real sockets, with faults on demand.

The store speaks HTTP on a bare socket, because its faults are about bytes and connections: it resets, stops reading,
answers early. It keeps the size and digest of what it was given, never the bytes.
"""

import asyncio
import base64
import hashlib
import json
import secrets
import socket
import ssl
import struct
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
from aiohttp import web

from broker import contract
from uploader import RetryPolicy, events

KEY = "ub_test_0123456789abcdef"
TOKEN = "session-token-that-is-secret"
QUICK = RetryPolicy(attempts=4, first_delay=timedelta(milliseconds=2), longest_delay=timedelta(milliseconds=10))

FAULTS_AFTER_THE_BODY: dict[str, tuple[int, str, dict[str, str]]] = {
    "conflict": (409, "ConditionalRequestConflict", {}),
    "slow-down": (503, "SlowDown", {"Retry-After": "0"}),
    "slow-down-1s": (503, "SlowDown", {"Retry-After": "1"}),
    "too-many": (429, "", {}),
}

EARLY_REFUSALS: dict[str | None, tuple[int, str]] = {
    "expired": (403, "AccessDenied"),
    "expired-token": (400, "ExpiredToken"),  # the same by Cloud Storage
    "forbidden": (403, "AccessDenied"),
    "refuse-early": (400, "EntityTooLarge"),
}
GET_REFUSALS: dict[str | None, int] = {"expired": 403, "gone": 404, "replaced": 412, "busy": 503}

MakeFile = Callable[..., Path]


@dataclass(slots=True)
class Stored:
    size_bytes: int
    sha256: str
    content: bytes | None = None
    etag: str = ""


@dataclass(slots=True)
class Session:
    id: str
    wanted: contract.CreateUploadSession
    state: contract.State = contract.State.PENDING
    reason: contract.Reason | None = None
    mints: int = 0
    looks_until_verified: int = 0
    result: Any = None

    @property
    def key(self) -> str:
        return f"uploads/{self.id}/{self.wanted.filename}"


@dataclass(slots=True)
class Put:
    """One PUT that reached the store."""

    path: str
    headers: dict[str, str]
    fault: str | None
    received_bytes: int = 0
    status: int = 0


@dataclass
class StandIn:
    sessions: dict[str, Session] = field(default_factory=dict)
    by_idempotency_key: dict[str, str] = field(default_factory=dict)
    objects: dict[str, Stored] = field(default_factory=dict)
    puts: list[Put] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    store_faults: deque[str | None] = field(default_factory=deque)
    broker_faults: dict[str, deque[str]] = field(default_factory=lambda: defaultdict(deque))
    url_ttl: timedelta = timedelta(minutes=15)
    ttls: deque[timedelta] = field(default_factory=deque)
    looks_until_verified: int = 0
    demands_digest: bool = False
    names: str = "nothing"  # of what it was sent: md5, or under a key of KMS something of that shape
    ends_at: contract.State = contract.State.VERIFIED
    on_busy: Callable[[], None] = lambda: None
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    body_begun: asyncio.Event = field(default_factory=asyncio.Event)
    calls_seen: asyncio.Condition = field(default_factory=asyncio.Condition)
    broker_url: str = ""
    store_url: str = ""

    # --- the broker ---

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._door])
        app.router.add_post("/upload-sessions", self._mint)
        app.router.add_get("/upload-sessions/{id}", self._get)
        app.router.add_delete("/upload-sessions/{id}", self._abort)
        app.router.add_post("/upload-sessions/{id}/upload", self._remint)
        app.router.add_post("/upload-sessions/{id}/completion", self._complete)
        app.router.add_get("/upload-sessions/{id}/content", self._content)
        return app

    @web.middleware
    async def _door(self, request: web.Request, handler: Any) -> web.StreamResponse:
        name = handler.__name__.strip("_")
        self.calls.append((name, request.path))
        faults = self.broker_faults[name]
        fault = faults.popleft() if faults else None
        if fault == "busy":
            self.on_busy()
            return web.Response(status=503, text="upstream is away", headers={"Retry-After": "0"})
        if fault == "reset":
            _reset(request.transport)
            return web.Response()
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _problem(401, "unauthenticated", "A valid key or session token is required.")
        answer: web.StreamResponse = await handler(request)
        if fault == "lost":
            _reset(request.transport)
        async with self.calls_seen:
            self.calls_seen.notify_all()
        return answer

    async def seen(self, name: str) -> None:
        """Until that call was made and served."""
        async with asyncio.timeout(20), self.calls_seen:
            await self.calls_seen.wait_for(lambda: any(call == name for call, _ in self.calls))

    async def _mint(self, request: web.Request) -> web.Response:
        raw = await request.read()
        try:
            wanted = msgspec.json.decode(raw, type=contract.CreateUploadSession)
        except msgspec.ValidationError as exc:
            return _problem(422, "invalid-input", str(exc))
        if wanted.filename.endswith(".exe"):
            field_problem = {"pointer": "/filename", "code": "content-type-not-allowed", "message": "not here"}
            return _problem(422, "content-type-not-allowed", "This destination does not take it.", [field_problem])
        if self.demands_digest and wanted.checksum == contract.Checksum():
            return _problem(422, "checksum-not-provable", "The destination requires a checksum.")
        key = request.headers["Idempotency-Key"]
        known = self.by_idempotency_key.get(key)
        if known is None:
            session = Session(f"00{len(self.sessions):04d}abc", wanted)
            session.looks_until_verified = self.looks_until_verified
            self.sessions[session.id] = session
            self.by_idempotency_key[key] = session.id
            return self._answer(session, 201, is_mint=True)
        session = self.sessions[known]
        if session.wanted != wanted:
            return _problem(422, "idempotency-key-reused", "This Idempotency-Key was used with another body.")
        return self._answer(session, 200, is_mint=True, headers={"Idempotency-Replayed": "true"})

    async def _remint(self, request: web.Request) -> web.Response:
        return self._answer(self.sessions[request.match_info["id"]], 200, is_mint=True)

    async def _get(self, request: web.Request) -> web.Response:
        session = self.sessions.get(request.match_info["id"])
        if session is None:
            return _problem(404, "session-not-found", "There is no such upload session.")
        self._look(session)
        return self._answer(session, 200)

    async def _complete(self, request: web.Request) -> web.Response:
        session = self.sessions[request.match_info["id"]]
        self._look(session)
        is_pending = session.state is contract.State.PENDING
        return self._answer(session, 202 if is_pending else 200)

    async def _abort(self, request: web.Request) -> web.Response:
        session = self.sessions[request.match_info["id"]]
        if session.state not in {contract.State.PENDING, contract.State.ABORTED}:
            return _problem(409, "session-settled", "The session is settled.")
        session.state = contract.State.ABORTED
        return self._answer(session, 200)

    async def _content(self, request: web.Request) -> web.Response:
        session = self.sessions[request.match_info["id"]]
        url = f"{self.store_url}/bucket/{quote(session.key)}?get={session.id}&expires={_stamp(self._ttl())}"
        signed = contract.SignedRequest(
            method="GET", url=url, headers={"if-match": '"etag"'}, expires_at=datetime.now(UTC) + timedelta(minutes=5)
        )
        return web.Response(body=msgspec.json.encode(signed), content_type="application/json")

    def _look(self, session: Session) -> None:
        """HEAD is the truth, as in the real broker."""
        if session.state is not contract.State.PENDING or (found := self.objects.get(session.key)) is None:
            return
        if session.looks_until_verified > 0:
            session.looks_until_verified -= 1
            return
        wanted = session.wanted
        is_good = found.size_bytes == wanted.size_bytes and wanted.checksum.sha256 in {None, found.sha256}
        session.state = self.ends_at if is_good else contract.State.REJECTED
        if not is_good:
            session.reason = contract.Reason(code="size-mismatch", message="It is not what was declared.")

    def _ttl(self) -> timedelta:
        return self.ttls.popleft() if self.ttls else self.url_ttl

    def _answer(
        self, session: Session, status: int, *, is_mint: bool = False, headers: dict[str, str] | None = None
    ) -> web.Response:
        upload: contract.PutUpload | msgspec.UnsetType = msgspec.UNSET
        if is_mint and session.state is contract.State.PENDING:
            session.mints += 1
            expires_at = datetime.now(UTC) + self._ttl()
            upload = contract.PutUpload(
                request=contract.SignedRequest(
                    method="PUT",
                    url=f"{self.store_url}/bucket/{quote(session.key)}?id={session.id}&X-Amz-Signature=s%2Bx"
                    f"&expires={expires_at.timestamp()}",
                    headers=_signed_headers(session),
                    expires_at=expires_at,
                )
            )
        body = contract.UploadSession(
            id=session.id,
            state=session.state,
            created_at=datetime.now(UTC),
            expires_at=datetime.now(UTC) + timedelta(hours=24),
            object=contract.ObjectRef(destination=session.wanted.destination, bucket="bucket", key=session.key),
            guarantees=contract.Guarantees(
                size=contract.Level.ENFORCED,
                content_type=contract.Level.ENFORCED,
                create_only=contract.Level.ENFORCED,
                checksum=contract.Level.ENFORCED,
            ),
            filename=session.wanted.filename,
            size_bytes=session.wanted.size_bytes,
            content_type=session.wanted.content_type,
            checksum=session.wanted.checksum,
            metadata=session.wanted.metadata,
            token=TOKEN if is_mint else msgspec.UNSET,
            upload=upload,
            reason=session.reason or msgspec.UNSET,
            stored=self._stored(session),
            result=session.result if session.result is not None else msgspec.UNSET,
            timeline=[contract.Step(state=session.state, at=datetime.now(UTC))],
        )
        return web.Response(
            status=status, body=msgspec.json.encode(body), content_type="application/json", headers=headers
        )

    def _stored(self, session: Session) -> contract.StoredObject | msgspec.UnsetType:
        found = self.objects.get(session.key)
        if found is None or session.state is contract.State.PENDING:
            return msgspec.UNSET
        kind = session.wanted.content_type
        return contract.StoredObject(size_bytes=found.size_bytes, content_type=kind, etag=found.etag or "its own")

    # --- the store ---

    def etag_headers(self, md5: str) -> dict[str, str]:
        """What the answer to a PUT says of the bytes."""
        if self.names == "kms":
            return {"ETag": f'"{secrets.token_hex(16)}"', "x-amz-server-side-encryption": "aws:kms"}
        return {"ETag": f'"{md5 if self.names == "md5" else "never believed"}"'}

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._serve_request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            await _closed(writer)

    async def _serve_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return False
        first, *lines = head[:-4].split("\r\n")
        method, target, _ = first.split(" ")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
        if method == "GET":
            return await self._serve_get(target, headers, writer)
        put = Put(target, headers, self.store_faults.popleft() if self.store_faults else None)
        self.puts.append(put)
        return await self._serve_put(put, reader, writer)

    async def _serve_put(self, put: Put, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        query = parse_qs(urlsplit(put.path).query)
        session = self.sessions[query["id"][0]]
        assert put.path.startswith(f"/bucket/{quote(session.key)}?")
        assert "X-Amz-Signature=s%2Bx" in put.path, "an escape of the signed URL was changed"
        if (refusal := self._signature_refusal(put, session, float(query["expires"][0]))) is not None:
            return await self._answer_early(put, writer, 403, refusal)
        if put.fault == "refuse-and-linger":  # answers, neither reads on nor closes
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await _respond(put, writer, 400, "EntityTooLarge", {})
            await asyncio.sleep(60)
        if put.fault in EARLY_REFUSALS:
            self.body_begun.set()
            if session.wanted.size_bytes > 65536:
                await reader.readexactly(65536)
            return await self._answer_early(put, writer, *EARLY_REFUSALS[put.fault])
        if put.fault == "reset":
            await reader.readexactly(min(65536, session.wanted.size_bytes // 2))
            _reset(writer.transport)
            return False
        if put.fault == "hold":  # reads on when it is told to
            self.body_begun.set()
            await self.may_go_on.wait()
        if put.fault == "stall":
            self.body_begun.set()
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.sleep(60)
        return await self._store(put, session, reader, writer)

    async def _store(
        self, put: Put, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        digest, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        left = session.wanted.size_bytes
        keep = bytearray()
        while left:
            piece = await reader.read(min(left, 1 << 20))
            if not piece:
                return False
            self.body_begun.set()
            if put.fault == "garble":  # on its way a byte became another
                piece = bytes([piece[0] ^ 1]) + piece[1:]
            digest.update(piece)
            md5.update(piece)
            left -= len(piece)
            put.received_bytes += len(piece)
            if session.wanted.size_bytes <= 1 << 22:
                keep += piece
        status, code, headers = self._outcome(put, session, base64.b64encode(digest.digest()).decode(), bytes(keep))
        if "ETag" in headers:
            headers = self.etag_headers(md5.hexdigest())
            self.objects[session.key].etag = headers["ETag"].strip('"')
        if put.fault in {"lost-response", "truncate-and-lose"}:
            _reset(writer.transport)
            return False
        if put.fault == "silent":
            await asyncio.sleep(60)
        await _respond(put, writer, status, code, headers)
        return True

    def _outcome(self, put: Put, session: Session, sha256: str, content: bytes) -> tuple[int, str, dict[str, str]]:
        if put.fault in FAULTS_AFTER_THE_BODY:
            return FAULTS_AFTER_THE_BODY[put.fault]
        if put.fault in {"truncate", "truncate-and-lose"}:  # the store lies: 200, but keeps less
            self.objects[session.key] = Stored(session.wanted.size_bytes - 1, sha256)
            return 200, "", {}
        if session.wanted.checksum.sha256 not in {None, sha256}:
            return 400, "XAmzContentChecksumMismatch", {}
        if session.key in self.objects:
            return 412, "PreconditionFailed", {}
        self.objects[session.key] = Stored(session.wanted.size_bytes, sha256, content)
        return 200, "", {"ETag": '"never believed"'}

    def _signature_refusal(self, put: Put, session: Session, expires: float) -> str | None:
        if expires < datetime.now(UTC).timestamp():
            return "AccessDenied"
        signed = _signed_headers(session) | {"content-length": str(session.wanted.size_bytes)}
        if any(put.headers.get(name) != value for name, value in signed.items()):
            return "SignatureDoesNotMatch"
        if any(name.startswith("x-amz-") and name not in signed for name in put.headers):
            return "UnsignedHeader"
        return "TransferEncoding" if "transfer-encoding" in put.headers else None

    async def _answer_early(self, put: Put, writer: asyncio.StreamWriter, status: int, code: str) -> bool:
        """Answer while the client still sends, then close: what it sends next is answered by a reset."""
        await _respond(put, writer, status, code, {"Connection": "close"})
        return False

    async def _serve_get(self, target: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> bool:
        session = self.sessions[parse_qs(urlsplit(target).query)["get"][0]]
        content = self.objects[session.key].content or b""
        fault = self.store_faults.popleft() if self.store_faults else None
        self.ranges.append(headers.get("range"))
        if fault in GET_REFUSALS:
            writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % GET_REFUSALS[fault])
            await writer.drain()
            return True
        if fault == "damaged":
            content = b"\xff" + content[1:]
        begin = int(headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        status = "206 Partial Content" if begin else "200 OK"
        span = f"Content-Range: bytes {begin}-{len(content) - 1}/{len(content)}\r\n" if begin else ""
        span += "".join(f"{name}: {value}\r\n" for name, value in _metadata_headers(session).items())
        writer.write(f"HTTP/1.1 {status}\r\n{span}Content-Length: {len(content) - begin}\r\n\r\n".encode())
        if fault == "cut":
            writer.write(content[begin : begin + (len(content) - begin) // 2])
            await writer.drain()
            return False
        writer.write(content[begin:])
        await writer.drain()
        return True


def _signed_headers(session: Session) -> dict[str, str]:
    headers = {
        "content-type": session.wanted.content_type,
        "if-none-match": "*",
        "x-amz-meta-upload-session": f"capsule-of-{session.id}",
        **_metadata_headers(session),
    }
    if session.wanted.checksum.sha256:
        headers["x-amz-checksum-sha256"] = session.wanted.checksum.sha256
    return headers


def _metadata_headers(session: Session) -> dict[str, str]:
    return {f"x-amz-meta-{name}": value for name, value in session.wanted.object_metadata.items()}


async def _respond(put: Put, writer: asyncio.StreamWriter, status: int, code: str, headers: dict[str, str]) -> None:
    put.status = status
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>about {code}</Message></Error>" if code else ""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {status} Reason\r\n{lines}Content-Length: {len(text)}\r\n\r\n{text}".encode())
    await writer.drain()


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Say goodbye, but only for a moment: TLS waits for the other side, which may have gone."""
    writer.close()
    try:
        async with asyncio.timeout(1):
            await writer.wait_closed()
    except (OSError, asyncio.CancelledError):
        writer.transport.abort()


def _reset(transport: asyncio.BaseTransport | None) -> None:
    """Close with RST instead of FIN."""
    assert transport is not None
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()  # type: ignore[attr-defined]


def _problem(status: int, code: str, detail: str, errors: list[dict[str, str]] | None = None) -> web.Response:
    body = {
        "type": f"https://example.invalid/problems/{code}",
        "title": detail,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": "r-1",
        "is_retryable": False,
        "errors": errors or [],
    }
    return web.Response(status=status, text=json.dumps(body), content_type="application/problem+json")


def _stamp(ttl: timedelta) -> float:
    return (datetime.now(UTC) + ttl).timestamp()


class Recorder:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.events: list[events.Event] = []
        self.meters: list[events.Meter] = []

    def on_event(self, event: events.Event) -> None:
        self.events.append(event)

    def on_meter(self, meter: events.Meter) -> None:
        self.meters.append(meter)

    def of(self, kind: type[events.Event]) -> list[events.Event]:
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def serving(standin: StandIn, tls: ssl.SSLContext | None = None) -> AsyncIterator[StandIn]:
    runner = web.AppRunner(standin.app(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    standin.broker_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        with suppress(asyncio.CancelledError):
            await standin.serve_connection(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, limit=1 << 20)
    scheme = "https" if tls else "http"
    standin.store_url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield standin
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await runner.cleanup()
