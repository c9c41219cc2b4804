"""One connection to a store, and one request at a time on it.

What breaks is an answer, too (`status` 0), with words that hold no URL. The one thing that is none: a connection that
was used before and ends before the first byte of an answer (RFC 9112, section 9.3.1: a server may close an idle
connection at any time, and its goodbye crosses our request). That is `None`, and worth another connection.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade

from uploader.lanes.reply import Reply
from uploader.sender import MAX_ANSWER_BYTES, Answer, describe

JOINED_BYTES = 1 << 16  # ours: up to here one copy is cheaper than a second piece on the way to the socket

Body = bytes | bytearray | memoryview


class Lane(asyncio.Protocol):
    """:ivar idle_since: on the loop's clock, for whoever keeps it."""

    def __init__(self, on_lost: "Callable[[Lane], None]") -> None:
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reply = Reply()
        self._asked: asyncio.Future[Answer | None] | None = None
        self._url = ""
        self._received_bytes = 0
        self._left_bytes = 0
        self._moved_at = 0.0
        self._is_used = False
        self.idle_since = 0.0

    @property
    def is_open(self) -> bool:
        """It can take a request."""
        return self._transport is not None and self._asked is None and not self._transport.is_closing()

    async def ask(self, head: bytes, body: Body, url: str) -> Answer | None:
        """Send, and wait for the answer.

        :param url: of the request; its secrets are taken out of what the store says.
        """
        if self._transport is None or self._transport.is_closing():
            return None
        asked = self._begin(url)
        if len(body) <= JOINED_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        try:
            return await asked
        finally:
            if not asked.done() or asked.cancelled():
                self.abort()
            self._is_used = True

    def check(self, now: float, stall_seconds: float, answer_seconds: float) -> None:
        """Give up on a store that takes nothing, or does not answer.

        :param stall_seconds: longest time in which it takes no byte of ours, or sends none of an answer it has begun.
        :param answer_seconds: longest time from our last byte to its answer.
        """
        if self._asked is None or self._transport is None:
            return
        left_bytes = self._transport.get_write_buffer_size()
        if left_bytes != self._left_bytes:
            self._left_bytes = left_bytes
            self._moved_at = now
        is_moving = left_bytes or self._reply.status
        if now - self._moved_at > (stall_seconds if is_moving else answer_seconds):
            self._end(TimeoutError())

    def abort(self) -> None:
        """End the connection now, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # create_connection makes no other

    def data_received(self, data: bytes) -> None:
        if self._asked is None:
            self.abort()  # an answer to nothing must not become the answer to what is asked next
            return
        self._received_bytes += len(data)
        reply = self._reply
        try:
            reply.parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            reply.is_last = True
            self._end(None, "the answer is not HTTP")
            return
        if reply.is_complete or self._received_bytes > MAX_ANSWER_BYTES:
            self._end(None, "the answer is too long")
        elif reply.status:
            self._moved_at = self._loop.time()

    def eof_received(self) -> None:
        self.abort()  # or what is not sent yet would keep it open

    def connection_lost(self, exc: Exception | None) -> None:
        is_stale = self._is_used and not self._received_bytes
        self._transport = None
        if self._asked is not None and is_stale and not isinstance(exc, TimeoutError):
            self._resolve(None)
        self._end(exc)
        self._on_lost(self)

    def _begin(self, url: str) -> "asyncio.Future[Answer | None]":
        self._url = url
        self._received_bytes = self._left_bytes = 0
        self._moved_at = self._loop.time()
        self._reply.begin()
        self._asked = self._loop.create_future()
        return self._asked

    def _end(self, exc: Exception | None, why: str = "") -> None:
        """With what arrived, if that is an answer."""
        if self._asked is None:
            return
        reply = self._reply
        is_over = not reply.is_complete or reply.is_last
        if is_over or (self._transport is not None and self._transport.get_write_buffer_size()):
            self.abort()
        if reply.status:
            self._resolve(reply.answer(self._url))
        else:
            self._resolve(Answer(status=0, code=why or describe(exc or ConnectionError()), message=""))

    def _resolve(self, answer: Answer | None) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and not asked.done():
            asked.set_result(answer)
