"""A proxy in front of a store that counts what clients upload through it. It changes no byte, so signatures hold."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

PIECE_BYTES = 1 << 17


@dataclass(slots=True)
class CountingProxy:
    """
    :ivar puts: PUTs by path, of objects and of parts.
    :ivar body_bytes: of these PUTs, by path, as far as they came.
    """

    upstream: str
    url: str = ""
    puts: Counter[str] = field(default_factory=Counter)
    body_bytes: Counter[str] = field(default_factory=Counter)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client, to its end."""
        store = urlsplit(self.upstream)
        try:
            above_reader, above_writer = await asyncio.open_connection(store.hostname, store.port)
        except OSError:
            return
        back = asyncio.ensure_future(_pipe(above_reader, writer))
        try:
            while True:
                await self._pass_request(reader, above_writer)
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.wait([back], timeout=1)  # one of the two went away; the store may have said something
        finally:
            above_writer.transport.abort()
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)

    async def _pass_request(self, reader: asyncio.StreamReader, above: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        above.write(head)
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        path = unquote(urlsplit(target).path)
        self.puts[path] += method == "PUT"
        left = int(headers.get("content-length", 0))
        while left:
            piece = await reader.read(min(left, PIECE_BYTES))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            self.body_bytes[path] += len(piece)
            left -= len(piece)
            above.write(piece)
            await above.drain()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE_BYTES):
        writer.write(piece)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def counting(upstream: str) -> AsyncIterator[CountingProxy]:
    proxy = CountingProxy(upstream)
    under_way: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        try:
            await proxy.serve(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            under_way.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        tasks = list(under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
