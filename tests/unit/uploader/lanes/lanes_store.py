"""A store of bare sockets whose every connection follows a script."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from broker.contract import SignedRequest

SECRET = "5ec7e75ec7e75ec7e7"
OK = b'HTTP/1.1 200 OK\r\nETag: "abc"\r\nContent-Length: 0\r\n\r\n'


@dataclass(slots=True, kw_only=True)
class Heard:
    """A request as it came in."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        (value,) = [value for each, value in self.headers if each.lower() == name]
        return value


@dataclass(slots=True, kw_only=True)
class Caller:
    """One connection, as a script sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    store: "Store"

    async def hear(self) -> Heard:
        """The next request, all of it. EOF is an IncompleteReadError."""
        heard = await self.hear_head()
        heard.body = await self.reader.readexactly(int(heard.header("content-length")))
        return heard

    async def hear_head(self) -> Heard:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        line, *rest = head[:-4].split("\r\n")
        heard = Heard(line=line, headers=[(n, v) for n, _, v in (each.partition(": ") for each in rest)], body=b"")
        self.store.heard.append(heard)
        return heard

    async def say(self, *pieces: bytes) -> None:
        """In packets of their own."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Caller], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Store:
    scripts: list[Script]
    heard: list[Heard] = field(default_factory=list)
    connections: int = 0
    closed: int = 0
    url: str = ""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def has_closed(self, count: int) -> None:
        """Until so many connections have ended."""
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(lambda: self.closed >= count)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        try:
            await script(Caller(reader=reader, writer=writer, store=self))
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self.closed += 1
            async with self.changed:
                self.changed.notify_all()
            writer.close()
            with suppress(OSError, asyncio.CancelledError, TimeoutError):
                async with asyncio.timeout(1):
                    await writer.wait_closed()

    def request(self, path: str = "/bucket/key", **headers: str) -> SignedRequest:
        return request_to(f"{self.url}{path}?sig={SECRET}%2B", **headers)


def request_to(url: str, method: str = "PUT", **headers: str) -> SignedRequest:
    return SignedRequest(
        method=method,
        url=url,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        expires_at=datetime.now(UTC) + timedelta(minutes=5),
    )


def always(*answer: bytes) -> Script:
    """The same answer to every request of a connection."""

    async def script(caller: Caller) -> None:
        while True:
            await caller.hear()
            await caller.say(*answer)

    return script


def once(*answer: bytes) -> Script:
    """One answer, then the connection is closed."""

    async def script(caller: Caller) -> None:
        await caller.hear()
        await caller.say(*answer)

    return script


@asynccontextmanager
async def store_of(
    *scripts: Script, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, receives_bytes: int = 0
) -> AsyncIterator[Store]:
    """Each connection follows the next script; those that come after all follow the last one."""
    store = Store(scripts=list(scripts))
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    if receives_bytes:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives_bytes)
    listener.bind((host, 0))
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await store.serve(reader, writer)
        tasks.discard(task)

    server = await asyncio.start_server(serve, sock=listener, ssl=tls, limit=1 << 16)
    name = f"[{host}]" if ":" in host else host
    store.url = f"http{'s' if tls else ''}://{name}:{listener.getsockname()[1]}"
    try:
        yield store
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
