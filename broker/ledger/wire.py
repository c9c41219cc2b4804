"""One pipelined connection to one Redis, shared by every coroutine of an event loop.

redis-py takes a connection out of a pool for each command and waits on it alone: 61 µs of CPU a call. Here all that
the coroutines ask within one tick of the loop leaves in one write, and replies are matched by their order, which the
protocol guarantees (RESP2, "Request-Response protocol" and "Pipelining"): 7 µs, see docs/decisions/0003. The price is
that a command which blocks (BLPOP, XREAD BLOCK, WAIT) would hold up everyone: such a command needs a `Wire` of its own,
and WATCH or SUBSCRIBE must not be sent at all.

A command is sent at most once. When the connection ends before the reply, the caller gets `ReplyLost`: the command may
have run or not, and only the ledger's scripts know how to ask. Nothing here decides that for them.
"""

import asyncio
import hashlib
import re
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias, cast

import hiredis
from redis import exceptions
from redis.asyncio.connection import parse_url

Word: TypeAlias = bytes | str | int | float
Reply: TypeAlias = Any  # None, int, bytes or a list of these, as RESP2 has them; the ledger knows what it asked for

CONNECT_TIMEOUT_SECONDS = 2.0
REPLY_TIMEOUT_SECONDS = 5.0  # beyond an fsync that everysec lets stall for up to 2 s (redis.conf, appendfsync)
FIRST_PAUSE_SECONDS = 0.05  # after a refused connection; doubled each time
LONGEST_PAUSE_SECONDS = 1.0
CLOSE_TIMEOUT_SECONDS = 1.0

_INCOMPLETE = object()
_ERRORS: dict[str, type[exceptions.RedisError]] = {
    "CLUSTERDOWN": exceptions.ConnectionError,
    "LOADING": exceptions.BusyLoadingError,
    "MASTERDOWN": exceptions.ConnectionError,
    "NOAUTH": exceptions.AuthenticationError,
    "NOPERM": exceptions.NoPermissionError,
    "NOSCRIPT": exceptions.NoScriptError,
    "OOM": exceptions.OutOfMemoryError,
    "READONLY": exceptions.ReadOnlyError,
    "WRONGPASS": exceptions.AuthenticationError,
}
# Until Redis 7 an error inside a script hides its code: "ERR Error running script (call to f_…): … -OOM command not …"
_ERROR_IN_SCRIPT = re.compile(r"ERR Error running script .*: -(?P<error>[A-Z]+ .*)", re.DOTALL)


class ReplyLost(exceptions.ConnectionError):
    """The connection ended before the reply came: the command may have run."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, known to the server by the SHA-1 of its source (Redis, EVALSHA)."""

    source: bytes
    sha: bytes = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()
        object.__setattr__(self, "sha", digest)


class Wire:
    """The way to one Redis. Connects when first used and again after a loss; belongs to one event loop.

    :param url: `redis://`, `rediss://` or `unix://`, with user, password and database as redis-py reads them; TLS takes
        `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile`.
    :param reply_timeout_seconds: a server that owes a reply for longer is taken for dead, with all that wait for it.
    :raises ValueError: the URL says something that this class would not do.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        reply_timeout_seconds: float = REPLY_TIMEOUT_SECONDS,
    ) -> None:
        self._server = _Server.parse(url)
        self._connect_timeout = connect_timeout_seconds
        self._reply_timeout = reply_timeout_seconds
        self._link: _Link | None = None
        self._links: set[_Link] = set()  # a retired one still answers
        self._opening: asyncio.Task[_Link] | None = None
        self._opened: asyncio.Future[_Link] | None = None
        self._failures = 0
        self._not_before = 0.0
        self._last_failure = ""
        self._is_closed = False

    async def call(self, *words: Word) -> Reply:
        """Send one command and wait for its reply; whoever else calls in this tick shares the write.

        A caller that is cancelled loses its reply, nobody else's; its command may still run.

        :raises ReplyLost: the command may have run.
        :raises redis.exceptions.ConnectionError: it did not: there is no connection, or the server is loading.
        :raises redis.exceptions.RedisError: the server's refusal, as redis-py names it.
        """
        link = self._link or await self._connected()
        try:
            return await link.send(words)
        except exceptions.ReadOnlyError:
            # A failover made it a replica: the name may already lead to the new primary, this connection never will.
            self._retire(link)
            raise

    async def evalsha(self, script: Script, keys: Sequence[Word], args: Sequence[Word] = ()) -> Reply:
        """Run a script by its digest; a server that does not know it (restart, flush) is given the source, once.

        :raises: as `call`. NOSCRIPT is said before anything runs, so this repeat is safe.
        """
        try:
            return await self.call("EVALSHA", script.sha, len(keys), *keys, *args)
        except exceptions.NoScriptError:
            # Not EVAL: from Redis 7.4 on, scripts that came with EVAL are evicted, loaded ones are not.
            await self.call("SCRIPT", "LOAD", script.source)
            return await self.call("EVALSHA", script.sha, len(keys), *keys, *args)

    async def close(self) -> None:
        """End the connection. Who still waits gets `ReplyLost`; later calls are refused."""
        self._is_closed = True
        ending: list[asyncio.Future[Any]] = [link.closed for link in self._links]
        if self._opening is not None:
            self._opening.cancel()
            ending.append(self._opening)
        for link in tuple(self._links):
            link.end("the wire was closed")
        if ending:
            await asyncio.wait(ending, timeout=CLOSE_TIMEOUT_SECONDS)

    async def _connected(self) -> "_Link":
        """Join the attempt under way, or begin one unless the last failure was a moment ago."""
        if self._is_closed:
            raise exceptions.ConnectionError("the wire is closed")
        if self._opened is None:
            loop = asyncio.get_running_loop()
            if loop.time() < self._not_before:
                raise exceptions.ConnectionError(self._last_failure)
            self._opened = loop.create_future()
            self._opening = loop.create_task(self._open())
            self._opening.add_done_callback(self._settle)
        # Shielded: the attempt belongs to all who wait for it, not to the caller that happened to begin it.
        return await asyncio.shield(self._opened)

    async def _open(self) -> "_Link":
        def build() -> _Link:
            return _Link(loop=loop, reply_timeout=self._reply_timeout, on_end=self._forget)

        loop = asyncio.get_running_loop()
        link: _Link | None = None
        try:
            async with asyncio.timeout(self._connect_timeout):
                link = await self._server.connect(build)
                self._links.add(link)
                for words in self._server.greeting:
                    await link.send(words)
        except BaseException as exc:
            if link is not None:
                link.end("the connection was not accepted")
            if isinstance(exc, OSError | exceptions.ResponseError):
                reason = str(exc) or "no answer in time"
                raise exceptions.ConnectionError(f"cannot use Redis at {self._server.name}: {reason}") from exc
            raise
        return link

    def _settle(self, opening: "asyncio.Task[_Link]") -> None:
        """Tell the result of an attempt to all who wait for it, and note when the next one may begin."""
        opened = cast("asyncio.Future[_Link]", self._opened)
        self._opening = self._opened = None
        if opening.cancelled():
            opened.set_exception(exceptions.ConnectionError("the wire is closed"))
        elif (failure := opening.exception()) is not None:
            pause = min(FIRST_PAUSE_SECONDS * 2**self._failures, LONGEST_PAUSE_SECONDS)
            self._not_before = opened.get_loop().time() + pause
            self._failures = min(self._failures + 1, 16)  # far past the longest pause, and no huge power
            self._last_failure = str(failure)
            opened.set_exception(failure)
        else:
            self._failures = 0
            link = opening.result()
            self._link = link if link in self._links else None  # it may have ended since
            opened.set_result(link)
        if not opened.cancelled():
            opened.exception()  # seen, even if every caller has gone meanwhile

    def _retire(self, link: "_Link") -> None:
        if self._link is link:
            self._link = None
        link.retire()

    def _forget(self, link: "_Link") -> None:
        self._links.discard(link)
        if self._link is link:
            self._link = None


class _Link(asyncio.Protocol):
    """One connection while it lasts: commands out in the order of `send`, replies to their futures in that order."""

    def __init__(
        self, *, loop: asyncio.AbstractEventLoop, reply_timeout: float, on_end: "Callable[[_Link], None]"
    ) -> None:
        self.closed: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._reply_timeout = reply_timeout
        self._on_end = on_end
        self._reader = hiredis.Reader(
            protocolError=exceptions.InvalidResponse, replyError=_error_of, notEnoughData=_INCOMPLETE
        )
        self._transport: asyncio.Transport | None = None
        self._outgoing: list[bytes] = []
        self._waiting: deque[tuple[asyncio.Future[Reply], float]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._end: str | None = None
        self._is_retired = False

    def send(self, words: tuple[Word, ...]) -> "asyncio.Future[Reply]":
        if self._end is not None:
            raise exceptions.ConnectionError(self._end)
        packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # the stub says one word, it means many
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(packed)
        reply: asyncio.Future[Reply] = self._loop.create_future()
        deadline = self._loop.time() + self._reply_timeout
        self._waiting.append((reply, deadline))
        if self._alarm is None:
            self._alarm = self._loop.call_at(deadline, self._check_silence)
        return reply

    def retire(self) -> None:
        """Take no more commands from `Wire`, and go when the last reply is there."""
        self._is_retired = True
        if not self._waiting and self._transport is not None:
            self._transport.close()

    def end(self, reason: str) -> None:
        """Fail all that wait. A place in the queue cannot be given up singly: later replies would shift."""
        if self._end is not None:
            return
        self._end = reason
        if self._alarm is not None:
            self._alarm.cancel()
        self._outgoing.clear()
        for reply, _ in self._waiting:
            if not reply.done():
                reply.set_exception(ReplyLost(f"no reply, the command may have run: {reason}"))
        self._waiting.clear()
        if self._transport is not None:
            self._transport.abort()
        self._on_end(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                self._deliver(reply)
        except exceptions.InvalidResponse as exc:
            self.end(f"this is not a Redis server: {exc}")
        if self._is_retired and not self._waiting and self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(f"the connection was lost ({exc or 'closed by the server'})")
        if not self.closed.done():
            self.closed.set_result(None)

    def _deliver(self, reply: Reply) -> None:
        if not self._waiting:
            self.end(f"the server spoke unasked: {reply!r}")  # "max number of clients reached" comes like this
            return
        waiting, _ = self._waiting.popleft()
        if waiting.done():  # its caller was cancelled; the reply has taken its place in the order
            return
        if isinstance(reply, exceptions.RedisError):
            waiting.set_exception(reply)
        else:
            waiting.set_result(reply)

    def _flush(self) -> None:
        if self._outgoing and self._transport is not None:
            self._transport.write(b"".join(self._outgoing))
            self._outgoing.clear()

    def _check_silence(self) -> None:
        """One timer a connection, not one a call: replies come in order, so the first in the queue is the oldest."""
        self._alarm = None
        if not self._waiting:
            return
        deadline = self._waiting[0][1]
        if deadline > self._loop.time():
            self._alarm = self._loop.call_at(deadline, self._check_silence)
        else:
            self.end(f"the server was silent for {self._reply_timeout:g} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """Where the server is and what it wants to hear first."""

    name: str  # for messages: no user, no password
    path: str | None
    host: str
    port: int
    tls: ssl.SSLContext | None
    greeting: tuple[tuple[Word, ...], ...] = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        options: dict[str, Any] = dict(parse_url(url))
        options.pop("connection_class", None)
        path, host, port = options.pop("path", None), options.pop("host", "localhost"), options.pop("port", 6379)
        user, password, db = options.pop("username", None), options.pop("password", None), options.pop("db", 0)
        tls = _tls_context(options) if url.startswith("rediss:") else None
        if options:
            raise ValueError(f"unknown in a Redis URL: {', '.join(sorted(options))}")
        # ECHO comes last: without it a full server (maxclients) or one that loads its data would look ready. Not PING,
        # which a server that cannot write its file refuses (MISCONF) while it still serves reads.
        last: tuple[Word, ...] = ("ECHO", "")
        greeting: tuple[tuple[Word, ...], ...] = (("SELECT", db), last) if db else (last,)
        if password is not None:
            greeting = (("AUTH", *((user, password) if user else (password,))), *greeting)
        return cls(name=path or f"{host}:{port}", path=path, host=host, port=port, tls=tls, greeting=greeting)

    async def connect(self, build: Callable[[], _Link]) -> _Link:
        loop = asyncio.get_running_loop()
        if self.path is not None:
            _, link = await loop.create_unix_connection(build, self.path)
        else:
            _, link = await loop.create_connection(build, self.host, self.port, ssl=self.tls)
        return link


def _tls_context(options: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.pop("ssl_ca_certs", None))
    certificate, key = options.pop("ssl_certfile", None), options.pop("ssl_keyfile", None)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def _error_of(text: str) -> exceptions.RedisError:
    if inner := _ERROR_IN_SCRIPT.fullmatch(text):
        text = inner["error"]
    return _ERRORS.get(text.partition(" ")[0], exceptions.ResponseError)(text)
