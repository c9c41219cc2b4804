"""What becomes of a session, as server-sent events (WHATWG HTML living standard, section 9.2).

`id` is the step's moment in Unix milliseconds, which grows with every step of a session: who comes back with the last
one misses nothing and is told nothing twice. A reader that is too slow for what it asked is cut off, and comes back.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import uniform
from typing import Any

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.types import Receive, Scope, Send

from broker.api.answers import NO_STORE, note_answer, request_headers, request_id
from broker.api.auth import Gate, Visit
from broker.api.mounting import mount
from broker.api.operations import EVENT_STREAM, EVENTS
from broker.contract import SessionEvent
from broker.domain.errors import InvalidInput
from broker.ports import Clock, Listeners
from broker.services.watch import News, Watch

_log = logging.getLogger("broker.api")

LONGEST = timedelta(hours=1)  # ours: then the client comes back, perhaps to another process
SPREAD = 0.2  # by which some end earlier, so that not all come back at once
SLOW = timedelta(seconds=30)  # for a reader to take what was written
RETRY_MS = (1_000, 4_000)  # not all at once, when a process stops
MAX_ID_DIGITS = 13  # Unix milliseconds until the year 2286

_START = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_HEARTBEAT = b":\n\n"
_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")  # between the tokens of a consumer's JSON, where they mean nothing

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEvents:
    watch: Watch
    listeners: Listeners
    clock: Clock

    def routes(self, gate: Gate) -> list[HTTPRouteHandler]:
        return [mount(gate, EVENTS, self._events)]

    async def _events(self, request: Request[Any, Any, Any], visit: Visit) -> "EventStream":
        until = self.clock.now() + uniform(1 - SPREAD, 1) * LONGEST  # noqa: S311 - spreads load
        return EventStream(
            watch=self.watch,
            listeners=self.listeners,
            visit=visit,
            after=_last_seen(request),
            until=min(until, visit.ends_at) if visit.ends_at else until,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventStream:
    """One answer that goes on: an ASGI application, as `Answer` is."""

    watch: Watch
    listeners: Listeners
    visit: Visit
    after: datetime
    until: datetime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """:raises Overloaded, LedgerUnavailable: nothing was sent yet."""
        session_id, key_id, generation = self.visit.session.id, self.visit.key_id, self.visit.generation
        with self.listeners.listen(session_id, key_id, generation) as listener:
            gone = asyncio.ensure_future(_hung_up(receive))
            gone.add_done_callback(lambda _: listener.leave())
            try:
                async with aclosing(self.watch(session_id, listener, after=self.after, until=self.until)) as news:
                    first = await anext(news)
                    await self._begin(first, scope, send)
                    if scope["method"] != "HEAD":  # type: ignore[typeddict-item]
                        await self._go_on(first, news, send)
                await _write(send, b"", is_last=True)
            except TimeoutError:
                _log.info("listener.too-slow", extra={"session_id": session_id})
            finally:
                gone.cancel()

    async def _begin(self, first: News, scope: Scope, send: Send) -> None:
        """Section 9.2.3: 204 tells a client to stop coming back."""
        headers = [(b"x-request-id", request_id(scope).encode()), NO_STORE]
        if not _is_nothing(first):
            headers += [(b"content-type", EVENT_STREAM.encode()), (b"x-accel-buffering", b"no")]
        status = 204 if _is_nothing(first) else 200
        note_answer(scope, status)
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def _go_on(self, first: News, news: AsyncIterator[News], send: Send) -> None:
        if not _is_nothing(first):
            await _write(send, b"retry: %d\n\n%s" % (uniform(*RETRY_MS), _told(first)))  # noqa: S311 - spreads load
        async for each in news:
            await _write(send, _told(each))


def _is_nothing(first: News) -> bool:
    """All was told before, and there will be no more."""
    return first.is_last and not first.events


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _write(send: Send, body: bytes, *, is_last: bool = False) -> None:
    """:raises TimeoutError: the reader does not take what was written before."""
    async with asyncio.timeout(SLOW.total_seconds()):
        await send({"type": "http.response.body", "body": body, "more_body": not is_last})


def _told(news: News) -> bytes:
    return b"".join(map(_text, news.events)) or _HEARTBEAT


def _text(event: SessionEvent) -> bytes:
    return b"event: state\nid: %d\ndata: %s\n\n" % (
        (event.at - _START) // _MILLISECOND,
        _encode(event).translate(_LINE_ENDS),
    )


def _last_seen(request: Request[Any, Any, Any]) -> datetime:
    """:raises InvalidInput: not an id of ours."""
    text = request_headers(request.scope).get(b"last-event-id")
    if text is None:
        return _START
    if not text.isdigit() or len(text) > MAX_ID_DIGITS:
        raise InvalidInput("Last-Event-ID is the id of an event of this stream")
    return _START + int(text) * _MILLISECOND
