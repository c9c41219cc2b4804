"""The stand-in broker and store, taught fan-out: every copy a session of its own that serves another.

It speaks the wire of docs/decisions/0009. All copies go to the same store process; what reaches it is counted by
destination, and each destination has faults of its own.
"""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from aiohttp import web
from parts_standin import PartsStandIn, _refusal
from uploader_standin import TOKEN, Put, Session, _problem, _reset

from broker import contract

CAME_TO_NOTHING = {contract.State.REJECTED, contract.State.EXPIRED}


@dataclass(slots=True)
class Parent:
    """A fan-out: `copies` by destination are ordinary sessions."""

    id: str
    wanted: contract.CreateUploadSession
    copies: dict[str, Session]
    state: contract.State = contract.State.PENDING


@dataclass
class CopiesStandIn(PartsStandIn):
    """
    :ivar parted: destinations where an object comes in parts.
    :ivar required: copies that a session needs; 0 is all.
    :ivar down: destinations whose store resets every connection.
    :ivar patient: destinations that take a first piece and read on when all others of the session have theirs.
    :ivar proves: what each destination's store checks by itself; sha256 and md5 by default.
    """

    parents: dict[str, Parent] = field(default_factory=dict)
    parted: set[str] = field(default_factory=set)
    required: int = 0
    down: set[str] = field(default_factory=set)
    patient: set[str] = field(default_factory=set)
    proves: dict[str, set[str]] = field(default_factory=dict)
    destination_faults: dict[str, deque[str | None]] = field(default_factory=lambda: defaultdict(deque))
    sent_to: Counter[str] = field(default_factory=Counter)  # PUTs, of objects and of parts
    bytes_to: Counter[str] = field(default_factory=Counter)
    generations: int = 0

    # --- the broker ---

    async def _mint(self, request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await request.read(), type=contract.CreateUploadSession)
        if not wanted.destinations:
            return await super()._mint(request)
        key = request.headers["Idempotency-Key"]
        known = self.by_idempotency_key.get(key)
        if known is not None:
            parent = self.parents[known]
            if parent.wanted != wanted:
                return _problem(422, "idempotency-key-reused", "This Idempotency-Key was used with another body.")
            return self._told(parent, requests_for=set(wanted.destinations), replayed=True)
        declared = {name for name in ("sha256", "md5") if getattr(wanted.checksum, name)}
        proved = [self.proves.get(d, {"sha256", "md5"}) for d in wanted.destinations]
        if not declared.intersection(*proved):
            bad = [d for d in wanted.destinations if declared - self.proves.get(d, {"sha256", "md5"})]
            why = f"what is declared is not proved by {', '.join(bad)}"
            pointed = {"pointer": "/checksum", "code": "checksum-not-provable", "message": why}
            return _problem(422, "checksum-not-provable", why, [pointed])
        parent = Parent(f"p{len(self.parents):04d}", wanted, {d: self._copy(wanted, d) for d in wanted.destinations})
        self.parents[parent.id] = parent
        self.by_idempotency_key[key] = parent.id
        return self._told(parent, 201, requests_for=set(wanted.destinations))

    def _copy(self, wanted: contract.CreateUploadSession, destination: str) -> Session:
        self.generations += 1
        own = msgspec.structs.replace(wanted, destination=destination, destinations=msgspec.UNSET)
        session = Session(f"c{self.generations:04d}", own, looks_until_verified=self.looks_until_verified)
        self.sessions[session.id] = session
        return session

    def is_cut(self, session: Session) -> bool:
        is_copy = session.id.startswith("c")
        return super().is_cut(session) and (not is_copy or session.wanted.destination in self.parted)

    async def _remint(self, request: web.Request) -> web.Response:
        parent = self.parents.get(request.match_info["id"])
        if parent is None:
            return await super()._remint(request)
        destination = await self._destination(request)
        if destination not in parent.copies:
            return _problem(422, "invalid-input", "no such copy")
        if parent.state in {contract.State.ABORTED, contract.State.REJECTED}:
            return _problem(409, "session-settled", "The session is settled.")
        if parent.copies[destination].state in CAME_TO_NOTHING:
            parent.copies[destination] = self._copy(parent.wanted, destination)
        return self._told(parent, requests_for={destination})

    async def _parts(self, request: web.Request) -> web.Response:
        parent = self.parents.get(request.match_info["id"])
        if parent is None:
            return await super()._parts(request)
        wanted = msgspec.json.decode(await request.read(), type=contract.PartsRequest)
        copy = parent.copies[str(wanted.destination)]
        if copy.state is not contract.State.PENDING:
            return _refusal("session-settled", is_retryable=False)
        grant = contract.PartsGrant(parts=self._requests(copy, wanted.numbers))
        return web.Response(body=msgspec.json.encode(grant), content_type="application/json")

    async def _complete(self, request: web.Request) -> web.Response:
        parent = self.parents.get(request.match_info["id"])
        if parent is None:
            return await super()._complete(request)
        named = await self._destination(request)
        for destination, copy in parent.copies.items():
            if named in {None, destination}:
                self._look_at(copy)
        is_pending = parent.state is contract.State.PENDING
        return self._told(parent, 202 if is_pending else 200)

    async def _get(self, request: web.Request) -> web.Response:
        parent = self.parents.get(request.match_info["id"])
        if parent is None:
            return await super()._get(request)
        for copy in parent.copies.values():
            self._look_at(copy, completes=False)
        return self._told(parent)

    async def _abort(self, request: web.Request) -> web.Response:
        parent = self.parents.get(request.match_info["id"])
        if parent is None:
            return await super()._abort(request)
        if parent.state not in {contract.State.PENDING, contract.State.ABORTED}:
            return _problem(409, "session-settled", "The session is settled.")
        parent.state = contract.State.ABORTED
        for copy in parent.copies.values():
            if copy.state is contract.State.PENDING:
                copy.state = contract.State.ABORTED
        return self._told(parent)

    async def _content(self, request: web.Request) -> web.Response:
        parent = self.parents.get(request.match_info["id"])
        if parent is None:
            return await super()._content(request)
        destination = request.query.get("destination", next(iter(parent.copies)))
        copy = parent.copies[destination]
        gone = datetime.now(UTC) + timedelta(minutes=5)
        url = f"{self.store_url}/bucket/{copy.key}?get={copy.id}&expires={gone.timestamp()}"
        signed = contract.SignedRequest(method="GET", url=url, headers={}, expires_at=gone)
        return web.Response(body=msgspec.json.encode(signed), content_type="application/json")

    async def _destination(self, request: web.Request) -> str | None:
        return msgspec.json.decode(await request.read(), type=contract.RemintUpload).destination

    def _look_at(self, copy: Session, *, completes: bool = True) -> None:
        if completes and self.is_cut(copy) and not self._missing(copy):
            self.put_together(copy)
        self._look(copy)

    def _derive(self, parent: Parent) -> None:
        verified = sum(copy.state is contract.State.VERIFIED for copy in parent.copies.values())
        if parent.state in {contract.State.PENDING, contract.State.EXPIRED}:
            parent.state = (
                contract.State.VERIFIED if verified >= (self.required or len(parent.copies)) else parent.state
            )

    def _told(
        self, parent: Parent, status: int = 200, *, requests_for: set[str] | None = None, replayed: bool = False
    ) -> web.Response:
        self._derive(parent)
        wanted = parent.wanted
        body = contract.UploadSession(
            id=parent.id,
            state=parent.state,
            created_at=datetime.now(UTC),
            expires_at=datetime.now(UTC) + timedelta(hours=24),
            filename=wanted.filename,
            size_bytes=wanted.size_bytes,
            content_type=wanted.content_type,
            checksum=wanted.checksum,
            token=TOKEN if requests_for else msgspec.UNSET,
            copies=[self._copy_told(copy, requests_for or set(), status) for copy in parent.copies.values()],
        )
        headers = {"Idempotency-Replayed": "true"} if replayed else None
        return web.Response(
            status=status, body=msgspec.json.encode(body), content_type="application/json", headers=headers
        )

    def _copy_told(self, copy: Session, requests_for: set[str], status: int) -> contract.Copy:
        destination = str(copy.wanted.destination)
        answer: Any = self._answer(copy, status, is_mint=destination in requests_for)
        seen = msgspec.json.decode(answer.body, type=contract.UploadSession)
        return contract.Copy(
            destination=destination,
            state=seen.state,
            object=seen.object or _never(),
            guarantees=seen.guarantees or _never(),
            upload=seen.upload,
            parts=seen.parts,
            problem=seen.reason,
        )

    # --- the store ---

    async def _serve_put(self, put: Put, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        query = parse_qs(urlsplit(put.path).query)
        destination = str(self.sessions[query["id"][0]].wanted.destination)
        self.sent_to[destination] += 1
        if destination in self.down:
            _reset(writer.transport)
            return False
        if self.destination_faults[destination]:
            put.fault = self.destination_faults[destination].popleft()
        try:
            return await super()._serve_put(put, self._paced(reader, query["id"][0]), writer)
        finally:
            self.bytes_to[destination] += put.received_bytes
            async with self.moved:
                self.moved.notify_all()

    def _paced(self, reader: asyncio.StreamReader, session_id: str) -> asyncio.StreamReader:
        destination = str(self.sessions[session_id].wanted.destination)
        if destination in self.patient:
            return _Patient(reader, lambda: self._others_are_there(session_id))  # type: ignore[return-value]
        return reader

    async def _others_are_there(self, session_id: str) -> None:
        (parent,) = (each for each in self.parents.values() if session_id in {c.id for c in each.copies.values()})
        others = [copy.key for copy in parent.copies.values() if copy.id != session_id]
        async with asyncio.timeout(60), self.moved:
            await self.moved.wait_for(lambda: all(key in self.objects for key in others))


class _Patient:
    """A reader that, after its first piece, reads on when it may. Meanwhile the kernel's buffers fill up."""

    def __init__(self, reader: asyncio.StreamReader, may_go_on: Callable[[], Awaitable[None]]) -> None:
        self._reader = reader
        self._may_go_on = may_go_on
        self._has_read = False

    async def read(self, size_bytes: int) -> bytes:
        if self._has_read:
            await self._may_go_on()
        self._has_read = True
        return await self._reader.read(size_bytes)

    async def readexactly(self, size_bytes: int) -> bytes:
        return await self._reader.readexactly(size_bytes)


def _never() -> Any:
    raise AssertionError("a copy has an object and guarantees")
