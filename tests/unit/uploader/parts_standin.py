"""The stand-in broker and store, taught multipart: parts on real sockets, each with faults of its own."""

import asyncio
import hashlib
import json
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
from aiohttp import web
from uploader_standin import FAULTS_AFTER_THE_BODY, Put, Session, StandIn, Stored, _reset, _respond

from broker import contract


@dataclass(slots=True)
class StoredPart:
    size_bytes: int
    sha256: str
    md5: str = ""


@dataclass
class PartsStandIn(StandIn):
    """Cuts what is larger than a part."""

    part_size_bytes: int = 1 << 20
    first_page: int = 100
    shown_missing: int = 1000
    part_ttl: timedelta = timedelta(minutes=15)
    part_ttls: deque[timedelta] = field(default_factory=deque)
    part_faults: dict[int, deque[str]] = field(default_factory=lambda: defaultdict(deque))
    pages: list[list[int]] = field(default_factory=list)
    stored_parts: dict[str, dict[int, StoredPart]] = field(default_factory=lambda: defaultdict(dict))
    generation: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    sent_numbers: list[int] = field(default_factory=list)
    completing: int = 0  # so many completions are refused, because somebody else is at it
    unclear: int = 0  # so many status answers do not say what is missing
    under_way: int = 0
    most_under_way: int = 0
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    def times_sent(self) -> Counter[int]:
        """How often each part's PUT reached the store."""
        return Counter(self.sent_numbers)

    def stored_count(self) -> int:
        return sum(map(len, self.stored_parts.values()))

    async def until(self, *, stored: int = 0, begun: int = 0) -> None:
        """Until so many parts are stored, in whichever session, and so many PUTs of parts have begun."""
        async with asyncio.timeout(30), self.moved:
            await self.moved.wait_for(lambda: self.stored_count() >= stored and len(self.sent_numbers) >= begun)

    def part_count(self, session: Session) -> int:
        return -(-session.wanted.size_bytes // self.part_size_bytes)

    def is_cut(self, session: Session) -> bool:
        return session.wanted.strategy != "put" and session.wanted.size_bytes > self.part_size_bytes

    # --- the broker ---

    def app(self) -> web.Application:
        app = super().app()
        app.router.add_post("/upload-sessions/{id}/parts", self._parts)
        return app

    async def _parts(self, request: web.Request) -> web.Response:
        session = self.sessions[request.match_info["id"]]
        wanted = msgspec.json.decode(await request.read(), type=contract.PartsRequest)
        if session.state is not contract.State.PENDING:
            return _refusal("session-settled", is_retryable=False)
        self.pages.append(list(wanted.numbers))
        grant = contract.PartsGrant(parts=self._requests(session, wanted.numbers))
        return web.Response(body=msgspec.json.encode(grant), content_type="application/json")

    async def _complete(self, request: web.Request) -> web.Response:
        session = self.sessions[request.match_info["id"]]
        if self.completing > 0:
            self.completing -= 1
            return _refusal("completion-in-progress", is_retryable=True)
        if self.is_cut(session) and not self._missing(session):
            self.put_together(session)
        return await super()._complete(request)

    def put_together(self, session: Session) -> None:
        digest = session.wanted.checksum.sha256 or "nobody read it whole"
        parts = [part for _, part in sorted(self.stored_parts[session.id].items())]
        md5s = b"".join(bytes.fromhex(part.md5) for part in parts)
        headers = self.etag_headers(f"{hashlib.md5(md5s, usedforsecurity=False).hexdigest()}-{len(parts)}")
        self.objects[session.key] = Stored(session.wanted.size_bytes, digest, etag=headers["ETag"].strip('"'))

    def _answer(
        self, session: Session, status: int, *, is_mint: bool = False, headers: dict[str, str] | None = None
    ) -> web.Response:
        plain = super()._answer(session, status, is_mint=is_mint, headers=headers)
        if not self.is_cut(session) or session.state is not contract.State.PENDING:
            return plain
        body = msgspec.json.decode(bytes(plain.body), type=contract.UploadSession)  # type: ignore[arg-type]
        missing = self._missing(session)
        changes: dict[str, Any] = {}
        if is_mint:
            changes["upload"] = contract.MultipartUpload(
                part_size_bytes=self.part_size_bytes,
                part_count=self.part_count(session),
                parts=self._requests(session, missing[: self.first_page]),
            )
        elif status == 200:
            changes["parts"] = self._status(session, missing)
        changed = msgspec.structs.replace(body, **changes)
        return web.Response(
            status=status, body=msgspec.json.encode(changed), content_type="application/json", headers=headers
        )

    def _status(self, session: Session, missing: list[int]) -> Any:
        if self.unclear > 0:
            self.unclear -= 1
            return msgspec.UNSET
        there = self.stored_parts[session.id]
        return contract.PartsStatus(
            part_size_bytes=self.part_size_bytes,
            part_count=self.part_count(session),
            stored_count=len(there),
            stored_bytes=sum(part.size_bytes for part in there.values()),
            missing=missing[: self.shown_missing],
        )

    def _missing(self, session: Session) -> list[int]:
        return [n for n in range(1, self.part_count(session) + 1) if n not in self.stored_parts[session.id]]

    def _size_of(self, session: Session, number: int) -> int:
        return min(self.part_size_bytes, session.wanted.size_bytes - (number - 1) * self.part_size_bytes)

    def _requests(self, session: Session, numbers: list[int]) -> list[contract.PartRequest]:
        expires_at = datetime.now(UTC) + (self.part_ttls.popleft() if self.part_ttls else self.part_ttl)
        return [
            contract.PartRequest(
                number=number,
                offset_bytes=(number - 1) * self.part_size_bytes,
                size_bytes=self._size_of(session, number),
                request=contract.SignedRequest(
                    method="PUT",
                    url=f"{self.store_url}/bucket/{quote(session.key)}?id={session.id}&partNumber={number}"
                    f"&uploadId={self.generation[session.id]}&X-Amz-Signature=s%2Bx&expires={expires_at.timestamp()}",
                    headers={},
                    expires_at=expires_at,
                ),
            )
            for number in numbers
        ]

    # --- the store ---

    async def _serve_put(self, put: Put, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        query = {name: values[0] for name, values in parse_qs(urlsplit(put.path).query).items()}
        if "partNumber" not in query:
            return await super()._serve_put(put, reader, writer)
        number = int(query["partNumber"])
        self.sent_numbers.append(number)
        put.fault = self.part_faults[number].popleft() if self.part_faults[number] else put.fault
        await self._move(1)
        try:
            return await self._serve_part(put, query, reader, writer)
        finally:
            await self._move(-1)

    async def _move(self, change: int) -> None:
        self.under_way += change
        self.most_under_way = max(self.most_under_way, self.under_way)
        async with self.moved:
            self.moved.notify_all()

    async def _serve_part(
        self, put: Put, query: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        session, number = self.sessions[query["id"]], int(query["partNumber"])
        assert "X-Amz-Signature=s%2Bx" in put.path, "an escape of the signed URL was changed"
        size = self._size_of(session, number)
        if put.fault == "vanish":  # a lifecycle rule took the upload with all its parts
            self.generation[session.id] += 1
            self.stored_parts[session.id].clear()
        refusal = self._refusal(put, query, session, size)
        if refusal is not None:
            await reader.readexactly(min(size, 4096))
            return await self._answer_early(put, writer, *refusal)
        if put.fault == "reset":
            await reader.readexactly(size // 2)
            _reset(writer.transport)
            return False
        if put.fault == "hold":
            self.body_begun.set()
            await self.may_go_on.wait()
        if put.fault == "stall":
            self.body_begun.set()
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.sleep(60)
        return await self._take(put, session, number, reader, writer)

    def _refusal(self, put: Put, query: dict[str, str], session: Session, size: int) -> tuple[int, str] | None:
        if int(query["uploadId"]) != self.generation[session.id]:
            return 404, "NoSuchUpload"
        if put.fault in {"expired", "forbidden"} or float(query["expires"]) < datetime.now(UTC).timestamp():
            return 403, "AccessDenied"
        unsigned = [n for n in put.headers if n.startswith("x-amz-") or n in {"content-type", "transfer-encoding"}]
        if put.headers.get("content-length") != str(size) or unsigned:
            return 403, "SignatureDoesNotMatch"
        return (400, "EntityTooLarge") if put.fault == "refuse-early" else None

    async def _take(
        self, put: Put, session: Session, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        size, digest, md5 = self._size_of(session, number), hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        while put.received_bytes < size:
            piece = await reader.read(min(size - put.received_bytes, 1 << 18))
            if not piece:
                return False
            if put.fault == "garble":  # on its way a byte became another
                piece = bytes([piece[0] ^ 1]) + piece[1:]
            digest.update(piece)
            md5.update(piece)
            put.received_bytes += len(piece)
        if put.fault in FAULTS_AFTER_THE_BODY:
            await _respond(put, writer, *FAULTS_AFTER_THE_BODY[put.fault])
            return True
        if put.fault != "forget":
            self.stored_parts[session.id][number] = StoredPart(size, digest.hexdigest(), md5.hexdigest())
        if put.fault == "lost-response":
            _reset(writer.transport)
            return False
        await _respond(put, writer, 200, "", self.etag_headers(md5.hexdigest()))
        return True


def _refusal(code: str, *, is_retryable: bool) -> web.Response:
    body = {
        "type": f"https://example.invalid/problems/{code}",
        "title": code,
        "status": 409,
        "code": code,
        "detail": code,
        "request_id": "r-1",
        "is_retryable": is_retryable,
        "errors": [],
    }
    return web.Response(status=409, text=json.dumps(body), content_type="application/problem+json")
