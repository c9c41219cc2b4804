"""A receiver of webhooks on loopback, on bare sockets: it answers as it is told, also as no server should."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook as Judge

SOON = 5  # seconds of real time that nothing here takes

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass(frozen=True, slots=True)
class Heard:
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def event(self) -> Any:
        return json.loads(self.body)

    @property
    def type(self) -> str:
        return str(self.event["type"])

    @property
    def session_id(self) -> str:
        return str(self.event["data"]["id"])


Manner = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(status: int, *headers: str) -> Manner:
    lines = [f"HTTP/1.1 {status} Because", "content-length: 0", *headers]
    return saying("\r\n".join([*lines, "", ""]).encode())


def saying(text: bytes) -> Manner:
    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()

    return say


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()  # until the caller gives up


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Headers that never end, a byte at a time: each arrives in time, the whole never."""
    with suppress(ConnectionError):
        writer.write(b"HTTP/1.1 200 OK\r\nx-drip: ")
        while not writer.is_closing():
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.01)


async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A body without end."""
    with suppress(ConnectionError):
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"10000\r\n" + b"a" * 65_536 + b"\r\n")
            await writer.drain()


@dataclass
class Receiver:
    """`manners` are for the next requests, `usual` for the others."""

    url: str = ""
    usual: Manner = field(default_factory=lambda: saying(OK))
    manners: list[Manner] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    connections: int = 0
    open_now: int = 0

    async def until(self, is_so: Callable[[], bool], *, seconds: float = SOON) -> None:
        async with asyncio.timeout(seconds):
            while not is_so():  # noqa: ASYNC110 - who serves sets no event
                await asyncio.sleep(0.005)

    def verified_by(self, secret: str) -> list[Any]:
        """Every event, after the official package has verified it."""
        return [Judge(secret).verify(heard.body, heard.headers) for heard in self.heard]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        number = self.connections
        try:
            while (heard := await _request(reader, number)) is not None:
                self.heard.append(heard)
                manner = self.manners.pop(0) if self.manners else self.usual
                await manner(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open_now -= 1
            writer.close()


async def _request(reader: asyncio.StreamReader, connection: int) -> Heard | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    pairs = (line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Heard(headers, body, connection)


@asynccontextmanager
async def receiving(**wishes: Any) -> AsyncIterator[Receiver]:
    receiver = Receiver(**wishes)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(receiver.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield receiver
    finally:
        server.close()
        for task in [*tasks]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
