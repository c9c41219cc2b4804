"""A strict stand-in for the broker's job routes and for a store, over real sockets, that misbehaves when told to.

It refuses what the real ones refuse: unknown fields, a wrong key, a stale lease, a signed GET that ended or came with
the role key. It waits on events, never on the clock.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from aiohttp import web

from broker import contract
from consumer.processors import Processor, Terms

KEY = "ub_worker_standin-secret"
ETAG = '"5d41402abc4b2a76b9719d911017c592"'
PATIENT_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What one GET does wrong. `after` bytes of its answer go out first."""

    kind: str  # truncate | reset | stall | status | etag | longer | ignore-range
    after: int = 0
    status: int = 0


@dataclass(slots=True)
class Stored:
    body: bytes
    etag: str = ETAG
    generation: str | None = None  # what the store calls it, if it numbers what it has
    faults: list[Fault] = field(default_factory=list)
    gets: list[tuple[int, int]] = field(default_factory=list)  # (first byte, grant) of every GET that was let in


@dataclass(slots=True)
class Held:
    job: contract.Job
    epoch: int = 0
    is_leased: bool = False


@dataclass(slots=True)
class Standin:
    """The state of both servers, and what they heard."""

    url: str = ""
    life: timedelta = timedelta(seconds=60)
    clock_offset: timedelta = timedelta(0)
    objects: dict[str, Stored] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)
    queue: list[str] = field(default_factory=list)
    grants: int = 0
    ended_grants: set[int] = field(default_factory=set)
    heard: list[tuple[str, str, Any]] = field(default_factory=list)  # (verb, job, decoded body)
    asked: list[contract.LeaseRequest] = field(default_factory=list)
    refuse: dict[str, list[int]] = field(default_factory=dict)  # verb → statuses of the next answers
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def add(
        self,
        body: bytes,
        *,
        content_type: str = "text/plain",
        filename: str = "a.txt",
        prove: list[str] | None = None,
        checksum: contract.Checksum | None = None,
        faults: list[Fault] | None = None,
        size_bytes: int | None = None,
        version: str | None = None,
    ) -> str:
        job_id = f"00job{len(self.held)}"
        self.objects[job_id] = Stored(body, faults=faults or [])
        self.held[job_id] = Held(
            contract.Job(
                id=job_id,
                filename=filename,
                size_bytes=len(body) if size_bytes is None else size_bytes,
                content_type=content_type,
                destination="default",
                etag=ETAG,
                version=version,
                checksum=checksum or contract.Checksum(),
                prove=prove or [],
                metadata={"case": "17"},
                owner=None,
                batch=None,
                attempts=contract.Attempts(leases=0, failures=0, lost_leases=0, infrastructure=0),
                lease=contract.Lease(token="", epoch=0, expires_at=datetime.now(UTC)),
                read=contract.SignedRequest(method="GET", url="", headers={}, expires_at=datetime.now(UTC)),
            )
        )
        self.queue.append(job_id)
        return job_id

    def now(self) -> datetime:
        return datetime.now(UTC) + self.clock_offset

    def verbs(self, verb: str) -> list[Any]:
        return [body for said, _, body in self.heard if said == verb]

    async def until(self, is_true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENT_SECONDS), self.changed:
            await self.changed.wait_for(is_true)

    async def until_heard(self, verb: str, count: int = 1) -> list[Any]:
        await self.until(lambda: len(self.verbs(verb)) >= count)
        return self.verbs(verb)

    async def tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    def lose(self, job_id: str) -> None:
        """Somebody else leased it."""
        self.held[job_id].epoch += 1

    # --- the broker ---------------------------------------------------------------------------------------

    async def lease(self, request: web.Request) -> web.Response:
        ask = await self._authentic(request, contract.LeaseRequest, "lease")
        self.asked.append(ask)
        await self.tell()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ask.wait_seconds), self.changed:
                await self.changed.wait_for(lambda: bool(self.queue) or self.over.is_set())
        taken, self.queue[:] = self.queue[: ask.max], self.queue[ask.max :]
        for job_id in taken:
            self.held[job_id].epoch += 1
            self.held[job_id].is_leased = True
        return self._json(contract.LeasedJobs(jobs=[self._leased(job_id) for job_id in taken]))

    async def renew(self, request: web.Request) -> web.Response:
        job_id, _ = await self._fenced(request, contract.RenewRequest, "renew")
        leased = self._leased(job_id)
        return self._json(contract.RenewedLease(lease=leased.lease, read=leased.read))

    async def result(self, request: web.Request) -> web.Response:
        job_id, _ = await self._fenced(request, contract.ResultRequest, "result")
        self.held[job_id].is_leased = False
        return self._json(contract.JobState(id=job_id, state=contract.State.PROCESSED))

    async def release(self, request: web.Request) -> web.Response:
        job_id, _ = await self._fenced(request, contract.ReleaseRequest, "release")
        self.held[job_id].is_leased = False
        return self._json(contract.JobState(id=job_id, state=contract.State.VERIFIED))

    async def _fenced(self, request: web.Request, kind: type[Any], verb: str) -> tuple[str, Any]:
        job_id = request.match_info["id"]
        ask = await self._authentic(request, kind, verb)
        held = self.held[job_id]
        if not held.is_leased or (ask.lease, ask.epoch) != (f"lease-{job_id}-{held.epoch}", held.epoch):
            self.heard.append((f"{verb}-lost", job_id, ask))
            await self.tell()
            raise _problem(409, "lease-lost")
        self.heard.append((verb, job_id, ask))
        await self.tell()
        return job_id, ask

    async def _authentic(self, request: web.Request, kind: type[Any], verb: str) -> Any:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            raise _problem(401, "unauthenticated")
        ask = msgspec.json.decode(await request.read(), type=kind)
        if self.refuse.get(verb):
            status = self.refuse[verb].pop(0)
            self.heard.append((f"{verb}-{status}", request.match_info.get("id", ""), ask))
            await self.tell()
            raise _problem(status, "test")
        return ask

    def _leased(self, job_id: str) -> contract.Job:
        self.grants += 1
        held = self.held[job_id]
        ends = self.now() + self.life
        return msgspec.structs.replace(
            held.job,
            lease=contract.Lease(token=f"lease-{job_id}-{held.epoch}", epoch=held.epoch, expires_at=ends),
            read=contract.SignedRequest(
                method="GET",
                url=f"{self.url}/bucket/{job_id}?grant={self.grants}&X-Amz-Signature=secret%2Fsig",
                headers={"if-match": ETAG},
                expires_at=ends,
            ),
        )

    def _json(self, body: msgspec.Struct) -> web.Response:
        date = self.now().strftime("%a, %d %b %Y %H:%M:%S GMT")
        return web.Response(body=msgspec.json.encode(body), content_type="application/json", headers={"date": date})

    # --- the store ----------------------------------------------------------------------------------------

    async def get(self, request: web.Request) -> web.StreamResponse:
        stored = self.objects[request.match_info["id"]]
        assert "authorization" not in request.headers, "the role key must never reach the store"
        assert request.headers["accept-encoding"] == "identity"
        assert "secret%2Fsig" in request.raw_path, "a signed URL is sent as it is spelled"
        grant = int(request.query["grant"])
        if grant in self.ended_grants:
            raise web.HTTPForbidden(text="<Error><Code>AccessDenied</Code></Error>")
        first, last = _range(request, len(stored.body))
        stored.gets.append((first, grant))
        fault = stored.faults.pop(0) if stored.faults else None
        await self.tell()
        if fault and fault.kind == "status":
            return web.Response(status=fault.status)
        return await self._send(request, stored, first, last, fault)

    async def _send(
        self, request: web.Request, stored: Stored, first: int, last: int, fault: Fault | None
    ) -> web.StreamResponse:
        is_part = "range" in request.headers and not (fault and fault.kind == "ignore-range")
        answer = web.StreamResponse(status=206 if is_part else 200)
        answer.headers["etag"] = '"other"' if fault and fault.kind == "etag" else stored.etag
        if stored.generation is not None:
            answer.headers["x-goog-generation"] = stored.generation
        body = stored.body[first : last + 1] if is_part else stored.body
        size = len(stored.body) + (1 if fault and fault.kind == "longer" else 0)
        if is_part:
            answer.headers["content-range"] = f"bytes {first}-{last}/{size}"
        answer.content_length = len(body) + (1 if fault and fault.kind == "longer" else 0)
        await answer.prepare(request)
        breaks = fault is not None and fault.kind in {"truncate", "reset", "stall"}
        told = memoryview(body)[: fault.after] if breaks and fault else memoryview(body)
        for at in range(0, len(told), 65_536):
            await answer.write(told[at : at + 65_536])
        if not breaks or fault is None:
            return answer
        assert request.transport is not None
        if fault.kind == "stall":
            await self.over.wait()
        if fault.kind == "reset":
            request.transport.abort()
        else:
            request.transport.close()
        return answer


def _range(request: web.Request, size: int) -> tuple[int, int]:
    told = request.headers.get("range")
    if told is None:
        return 0, size - 1
    first, last = told.removeprefix("bytes=").split("-")
    return int(first), min(int(last), size - 1)


def _problem(status: int, code: str) -> web.HTTPException:
    body = contract.Problem(
        type="", title="", status=status, code=code, detail="", request_id="", is_retryable=status >= 500
    )
    found = {401: web.HTTPUnauthorized, 409: web.HTTPConflict, 422: web.HTTPUnprocessableEntity}
    kind = found.get(status, web.HTTPServiceUnavailable)
    return kind(text=msgspec.json.encode(body).decode(), content_type="application/problem+json")


@contextlib.asynccontextmanager
async def served(standin: Standin, port: int = 0) -> AsyncIterator[int]:
    app = web.Application(client_max_size=2**20)
    app.add_routes(
        [
            web.post("/jobs/lease", standin.lease),
            web.post("/jobs/{id}/renew", standin.renew),
            web.post("/jobs/{id}/result", standin.result),
            web.post("/jobs/{id}/release", standin.release),
            web.get("/bucket/{id}", standin.get),
        ]
    )
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        standin.over.set()
        await standin.tell()
        await runner.cleanup()


def as_processor(function: Callable[..., Any], *patterns: str, timeout: float | None = 10) -> Processor:
    terms = Terms(patterns=patterns or ("*",), timeout_seconds=timeout)
    return Processor(module=function.__module__, name=function.__name__, function=function, terms=terms)
