"""The stand-in broker, taught to speak of many sessions at once, as trees are uploaded."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web
from copies_standin import CopiesStandIn
from parts_standin import PartsStandIn
from uploader_standin import Put, Session, StandIn, _problem

from broker import contract


class _One:
    """A request of one's own, cut out of one for many."""

    def __init__(self, body: bytes = b"{}", key: str = "", session_id: str = "") -> None:
        self._body = body
        self.headers = {"Idempotency-Key": key}
        self.match_info = {"id": session_id}

    async def read(self) -> bytes:
        return self._body


@dataclass
class Many(StandIn):
    """
    :ivar unlooked: so many answers of completions say that nobody has looked.
    :ivar never: the file that the store takes least of all.
    :ivar is_proved: it is said that the store proves digests.
    :ivar proves_only: and of which algorithm alone.
    :ivar held_at: a call that is held, before it is served or after: `batch-before`, `completions-after` …
    :ivar is_held: somebody is.
    :ivar has_five: the store has five objects.
    :ivar on_batch: called before a batch is served, with the number of those that came before.
    """

    unlooked: int = 0
    never: str = ""
    is_proved: bool = True
    proves_only: str | None = None
    held_at: str = ""
    is_held: asyncio.Event = field(default_factory=asyncio.Event)
    has_five: asyncio.Event = field(default_factory=asyncio.Event)
    on_batch: Callable[[int], None] = lambda _: None
    batches: list[list[contract.BatchItem]] = field(default_factory=list)
    completions: list[list[str]] = field(default_factory=list)

    def app(self) -> web.Application:
        app = super().app()
        app.router.add_post("/upload-sessions/batch", self._batch)
        app.router.add_post("/upload-sessions/completion", self._completions)
        app.router.add_post("/upload-sessions/status", self._statuses)
        return app

    def paths(self) -> Counter[str]:
        """What is stored: verified sessions that have an object, by the path of their file."""
        verified = [s for s in self.sessions.values() if s.state is self.ends_at and s.key in self.objects]
        return Counter(session.wanted.metadata["path"] for session in verified)

    async def _hold(self, where: str) -> None:
        """Whoever is waited for will never hear."""
        if self.held_at == where:
            self.is_held.set()
            await asyncio.Event().wait()

    async def _batch(self, request: web.Request) -> web.Response:
        self.on_batch(len(self.batches))
        await self._hold("batch-before")
        items = msgspec.json.decode(await request.read(), type=contract.CreateUploadSessions).sessions
        self.batches.append(items)
        answer = _joined([_placed(await self._minted(item), place) for place, item in enumerate(items)])
        await self._hold("batch-after")
        return answer

    async def _minted(self, item: contract.BatchItem) -> dict[str, Any]:
        named = msgspec.to_builtins(item)
        key = named.pop("idempotency_key")
        named.pop("is_announced")
        answer = await self._mint(_One(msgspec.json.encode(named), key))  # type: ignore[arg-type]
        told = _told(answer) | {"is_replayed": "Idempotency-Replayed" in answer.headers}
        is_proved = self.is_proved and (
            self.proves_only is None or getattr(item.checksum, self.proves_only) is not None
        )
        if "session" in told and not is_proved:
            told["session"]["guarantees"]["checksum"] = "on_read"
        return told

    async def _serve_put(self, put: Put, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if self.never and self.never in put.path:
            put.fault = "slow-down"
        return await super()._serve_put(put, reader, writer)

    def _outcome(self, put: Put, session: Session, sha256: str, content: bytes) -> tuple[int, str, dict[str, str]]:
        outcome = super()._outcome(put, session, sha256, content)
        if len(self.objects) == 5:
            self.has_five.set()
        return outcome

    async def _completions(self, request: web.Request) -> web.Response:
        ids = json.loads(await request.read())["ids"]
        self.completions.append(ids)
        await self._hold("completions-before")
        answer = _joined([await self._completed(each) for each in ids])
        await self._hold("completions-after")
        return answer

    async def _completed(self, session_id: str) -> dict[str, Any]:
        if not self._knows(session_id):
            return _missing() | {"is_looked_at": False}
        if self.unlooked > 0:
            self.unlooked -= 1
            return _told(self._answer(self.sessions[session_id], 200)) | {"is_looked_at": False}
        return _told(await self._complete(_One(session_id=session_id))) | {"is_looked_at": True}  # type: ignore[arg-type]

    async def _statuses(self, request: web.Request) -> web.Response:
        ids = json.loads(await request.read())["ids"]
        return _joined([_told(await self._get(_One(session_id=each))) for each in ids])  # type: ignore[arg-type]

    def _knows(self, session_id: str) -> bool:
        return session_id in self.sessions


@dataclass
class ManyParts(Many, PartsStandIn):
    """Cuts what is larger than a part."""


@dataclass
class ManyCopies(Many, CopiesStandIn):
    """Makes copies."""

    def _knows(self, session_id: str) -> bool:
        return session_id in self.parents or super()._knows(session_id)


def _told(answer: web.Response) -> dict[str, Any]:
    assert isinstance(answer.body, bytes)
    body = json.loads(answer.body)
    return {"session": body} if answer.status < 300 else {"problem": body}


def _placed(told: dict[str, Any], place: int) -> dict[str, Any]:
    """As the broker has it: a pointer leads into the body of the whole request."""
    for error in told.get("problem", {}).get("errors", []):
        error["pointer"] = f"/sessions/{place}{error['pointer']}"
    return told


def _missing() -> dict[str, Any]:
    return _told(_problem(404, "session-not-found", "There is no such upload session."))


def _joined(answers: list[dict[str, Any]]) -> web.Response:
    return web.Response(body=json.dumps({"sessions": answers}).encode(), content_type="application/json")
