"""The stand-in broker and store, taught resumable uploads as Google Cloud Storage has them, and their troubles.

Strict: a piece begins where the store is or before it, ends where it says, is a multiple of 256 KiB unless it is the
last, and goes to a URL that lives. Of a broken piece whole multiples are kept. Each byte is digested as it is kept.
"""

import asyncio
import hashlib
import json
import re
import secrets
from base64 import b64encode
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
from aiohttp import web
from uploader_standin import Put, Session, StandIn, Stored, _problem, _reset

from broker import contract

MULTIPLE = 1 << 18
REFUSALS = {"403", "404", "410", "499"}
REASONS = {308: "Resume Incomplete", 499: "Client Closed Request"}


@dataclass
class Opened:
    """One upload at the store, behind one URL."""

    session_id: str
    size_bytes: int
    kept_bytes: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    tail: bytearray = field(default_factory=bytearray)
    is_complete: bool = False
    is_cancelled: bool = False

    def keep(self, offset: int, piece: bytes) -> None:
        """What is new of these bytes, as far as it fills whole multiples."""
        new = piece[max(0, self.kept_bytes + len(self.tail) - offset) :]
        self.tail += new
        self._settle(len(self.tail) // MULTIPLE * MULTIPLE)

    def finish(self) -> None:
        self._settle(len(self.tail))

    def mark(self) -> tuple[int, Any]:
        return self.kept_bytes, self.digest.copy()

    def go_back(self, mark: tuple[int, Any]) -> None:
        self.kept_bytes, self.digest = mark

    def _settle(self, count: int) -> None:
        self.digest.update(self.tail[:count])
        del self.tail[:count]
        self.kept_bytes += count


@dataclass
class ResumableStandIn(StandIn):
    """
    :ivar faults: one for each piece that comes, in order; `last_faults` for those that end an object before that, and
        `query_faults` for each question.
    :ivar keeps_broken: of a piece that did not come whole, what came in whole multiples is kept; else nothing.
    :ivar received_bytes: of pieces, by session, as they came.
    """

    faults: deque[str | None] = field(default_factory=deque)
    last_faults: deque[str] = field(default_factory=deque)
    query_faults: deque[str | None] = field(default_factory=deque)
    keeps_broken: bool = True
    is_told_by_status: bool = True
    uploads: dict[str, Opened] = field(default_factory=dict)
    ranges_sent: list[str] = field(default_factory=list)
    received_bytes: Counter[str] = field(default_factory=Counter)
    committed: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def questions(self) -> list[str]:
        return [each for each in self.ranges_sent if each.startswith("bytes */")]

    @property
    def pieces(self) -> list[str]:
        return [each for each in self.ranges_sent if not each.startswith("bytes */")]

    def kept_bytes(self) -> int:
        return sum(upload.kept_bytes for upload in self.uploads.values())

    async def until(self, *, kept: int = 0, begun: int = 0) -> None:
        """Until the store has so many bytes, and so many pieces have begun."""
        async with asyncio.timeout(30), self.moved:
            await self.moved.wait_for(lambda: self.kept_bytes() >= kept and len(self.pieces) >= begun)

    def upload_of(self, session: Session) -> tuple[str, Opened]:
        """The newest one."""
        return [(key, each) for key, each in self.uploads.items() if each.session_id == session.id][-1]

    # --- the broker ---

    def is_resumable(self, session: Session) -> bool:
        return session.wanted.strategy == "resumable"

    async def _remint(self, request: web.Request) -> web.Response:
        session = self.sessions[request.match_info["id"]]
        self._look(session)
        if session.state is not contract.State.PENDING:
            return _problem(409, "session-settled", "The session is settled.")
        if self.is_resumable(session) and self.upload_of(session)[1].is_complete:
            body = json.loads(_problem(409, "completion-in-progress", "Its object is there.").text or "")
            return web.json_response(body | {"is_retryable": True}, status=409, headers={"Retry-After": "0"})
        return self._answer(session, 200, is_mint=True)

    def _answer(
        self, session: Session, status: int, *, is_mint: bool = False, headers: dict[str, str] | None = None
    ) -> web.Response:
        plain = super()._answer(session, status, is_mint=is_mint, headers=headers)
        if not self.is_resumable(session) or session.state is not contract.State.PENDING:
            return plain
        body = msgspec.json.decode(bytes(plain.body), type=contract.UploadSession)  # type: ignore[arg-type]
        changes: dict[str, Any] = {}
        if is_mint:
            changes["upload"] = contract.ResumableUpload(request=self._living(session), chunk_multiple_bytes=MULTIPLE)
        elif self.is_told_by_status and status == 200 and not self.upload_of(session)[1].is_cancelled:
            changes["offset_bytes"] = self.upload_of(session)[1].kept_bytes
        changed = msgspec.structs.replace(body, **changes)
        return web.Response(
            status=status, body=msgspec.json.encode(changed), content_type="application/json", headers=headers
        )

    def _living(self, session: Session) -> contract.SignedRequest:
        alive = [key for key, each in self.uploads.items() if each.session_id == session.id and not each.is_cancelled]
        key = alive[-1] if alive else secrets.token_urlsafe(24)
        self.uploads.setdefault(key, Opened(session.id, session.wanted.size_bytes))
        return contract.SignedRequest(
            method="PUT",
            url=f"{self.store_url}/upload/bucket/o?uploadType=resumable&name={quote(session.key, safe='')}"
            f"&id={session.id}&upload_id={key}&X-Amz-Signature=s%2Bx",
            headers={},
            expires_at=datetime.now(UTC) + timedelta(hours=24),
        )

    async def _abort(self, request: web.Request) -> web.Response:
        for upload in self.uploads.values():
            if upload.session_id == request.match_info["id"]:
                upload.is_cancelled = True
        return await super()._abort(request)

    # --- the store ---

    async def _serve_put(self, put: Put, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        query = {name: values[0] for name, values in parse_qs(urlsplit(put.path).query).items()}
        if "upload_id" not in query:
            return await super()._serve_put(put, reader, writer)
        assert "X-Amz-Signature=s%2Bx" in put.path, "an escape of the URL was changed"
        upload = self.uploads[query["upload_id"]]
        asked = put.headers.get("content-range", "")
        self.ranges_sent.append(asked)
        await self._move()
        try:
            if re.fullmatch(r"bytes \*/\d+", asked):
                return await self._tell(put, upload, asked, writer)
            return await self._take(put, upload, asked, reader, writer)
        finally:
            await self._move()

    async def _move(self) -> None:
        async with self.moved:
            self.moved.notify_all()

    async def _tell(self, put: Put, upload: Opened, asked: str, writer: asyncio.StreamWriter) -> bool:
        put.fault = self.query_faults.popleft() if self.query_faults else None
        if put.headers.get("content-length") != "0" or asked != f"bytes */{upload.size_bytes}":
            return await self._refuse(put, writer, 400, f"not a question: {asked}")
        if put.fault in REFUSALS:
            return await self._refuse(put, writer, *self._gone(put, upload))
        if upload.kept_bytes == upload.size_bytes:
            self._commit(upload)
        if (was_cut := await self._troubled(put, writer)) is not None:
            return was_cut
        return await self._say_where(put, upload, writer)

    async def _take(
        self, put: Put, upload: Opened, asked: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        is_last = asked.endswith(f"-{upload.size_bytes - 1}/{upload.size_bytes}")
        faults = self.last_faults if is_last and self.last_faults else self.faults
        put.fault = faults.popleft() if faults else None
        if (objection := self._objection(put, upload, asked)) is not None:
            return await self._refuse(put, writer, *objection)
        begin, end = (int(each) for each in re.findall(r"\d+", asked)[:2])
        if put.fault == "refuse-early":
            await reader.readexactly(min(4096, end - begin + 1))
            return await self._refuse(put, writer, 400, f"refused, says the store of {put.path}")
        if put.fault in {"hold", "stall"}:
            self.body_begun.set()
            if put.fault == "stall":
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                await asyncio.sleep(60)
            await self.may_go_on.wait()
        mark = upload.mark()
        stops_at = (end + 1 + begin) // 2 if put.fault in {"reset", "fewer"} else end + 1
        is_whole = await self._receive(put, upload, begin, stops_at, reader)
        if put.fault == "fewer":  # takes all of it, keeps a part
            await self._drain(put, upload, end + 1 - stops_at, reader)
        if put.fault == "reset" or not is_whole:
            if not self.keeps_broken:
                upload.go_back(mark)
            upload.tail.clear()
            _reset(writer.transport)
            return False
        if put.fault == "busy-before":
            upload.go_back(mark)
        elif end + 1 == upload.size_bytes and put.fault != "fewer":
            upload.finish()
            self._commit(upload)
        upload.tail.clear()
        if (was_cut := await self._troubled(put, writer)) is not None:
            return was_cut
        return await self._say_where(put, upload, writer)

    def _objection(self, put: Put, upload: Opened, asked: str) -> tuple[int, str] | None:
        size = int(put.headers["content-length"])
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", asked)
        if upload.is_cancelled or put.fault in REFUSALS:
            return self._gone(put, upload)
        if upload.is_complete:
            return 400, "it is complete"
        if found is None or int(found[2]) + 1 - int(found[1]) != size or int(found[3]) != upload.size_bytes:
            return 400, f"a range that does not fit: {asked}, {size} bytes"
        if int(found[1]) > upload.kept_bytes:
            return 400, f"a gap: {asked}, {upload.kept_bytes} are there"
        if int(found[2]) + 1 != upload.size_bytes and size % MULTIPLE:
            return 400, f"no multiple: {asked}"
        unexpected = [n for n in put.headers if n.startswith("x-goog-") or n in {"content-type", "transfer-encoding"}]
        return (400, f"unexpected: {unexpected}") if unexpected else None

    def _gone(self, put: Put, upload: Opened) -> tuple[int, str]:
        """403 is a refusal and no more; with the others it ends."""
        status = int(put.fault) if put.fault in REFUSALS else 404
        upload.is_cancelled |= status != 403
        return status, f"gone, says the store of {put.path}"

    async def _receive(self, put: Put, upload: Opened, begin: int, end: int, reader: asyncio.StreamReader) -> bool:
        offset = begin
        while offset < end:
            piece = await reader.read(min(end - offset, 1 << 20))
            if not piece:
                return False
            upload.keep(offset, piece)
            offset += len(piece)
            self._count(put, upload, len(piece))
        return True

    async def _drain(self, put: Put, upload: Opened, count: int, reader: asyncio.StreamReader) -> None:
        while count:
            piece = await reader.read(min(count, 1 << 20))
            count -= len(piece) or count
            self._count(put, upload, len(piece))

    def _count(self, put: Put, upload: Opened, count: int) -> None:
        put.received_bytes += count
        self.received_bytes[upload.session_id] += count

    def _commit(self, upload: Opened) -> None:
        if upload.is_complete:
            return
        session = self.sessions[upload.session_id]
        upload.is_complete = True
        self.committed[session.id] += 1
        self.objects[session.key] = Stored(upload.kept_bytes, b64encode(upload.digest.digest()).decode())

    async def _troubled(self, put: Put, writer: asyncio.StreamWriter) -> bool | None:  # noqa: PLR0911
        """None where there is no trouble, else whether the connection goes on."""
        match put.fault:
            case "busy" | "busy-before":
                await self._say(put, writer, 503, {"Retry-After": "0"}, "<html>\n<b>upload_id and all: " + put.path)
                return True
            case "busy-1s":
                await self._say(put, writer, 429, {"Retry-After": "1"})
                return True
            case "lost-response":
                _reset(writer.transport)
                return False
            case "silent":
                await asyncio.sleep(60)
                return False
            case "garbled":
                writer.write(b"HTTQ/9 what?\r\n\r\n")
                await writer.drain()
                return False
            case "garbled-range":
                await self._say(put, writer, 308, {"Range": "bytes=7-junk"})
                return True
            case "wrong-200":
                await self._say(put, writer, 200, {})
                return True
            case "412":
                await self._say(put, writer, 412, {})
                return True
        return None

    async def _say_where(self, put: Put, upload: Opened, writer: asyncio.StreamWriter) -> bool:
        if upload.is_cancelled:
            await self._say(put, writer, 404, {})
        elif upload.is_complete:
            await self._say(put, writer, 200, {}, json.dumps({"size": str(upload.size_bytes)}))
        else:
            kept = {"Range": f"bytes=0-{upload.kept_bytes - 1}"} if upload.kept_bytes else {}
            await self._say(put, writer, 308, kept)
        return True

    async def _refuse(self, put: Put, writer: asyncio.StreamWriter, status: int, why: str) -> bool:
        self.refused.append(why)
        error = {"error": {"code": status, "message": why, "errors": [{"reason": "invalid", "message": why}]}}
        await self._say(put, writer, status, {"Connection": "close"}, json.dumps(error))
        return False

    async def _say(
        self, put: Put, writer: asyncio.StreamWriter, status: int, headers: dict[str, str], text: str = ""
    ) -> None:
        put.status = status
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        reason = REASONS.get(status, "Reason")
        writer.write(f"HTTP/1.1 {status} {reason}\r\n{lines}Content-Length: {len(text)}\r\n\r\n{text}".encode())
        await writer.drain()
