"""An address behind which the server changes, as a failover's name or a proxy has it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from broker.dev.redis_server import RedisServer


@dataclass(slots=True, kw_only=True)
class Address:
    """Forwards bytes to whoever is primary now.

    :param is_mute: what the server answers gets lost.
    :param mute_at: from the moment on that a client says this.
    :param is_deaf: what clients say gets lost.
    """

    primary: RedisServer
    port: int = 0
    is_mute: bool = False
    mute_at: bytes | None = None
    is_deaf: bool = False
    _ways: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def fail_over(self, to: RedisServer) -> None:
        """Every connection ends; the next one leads to the new primary."""
        self.primary = to
        await self.cut()

    async def cut(self) -> None:
        ways = [*self._ways]
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.primary.port)
        except OSError:
            writer.close()
            return
        way = asyncio.create_task(self._carry(reader, back, there, writer))
        self._ways.add(way)
        way.add_done_callback(self._ways.discard)
        way.add_done_callback(lambda _: (writer.close(), back.close()))  # also of one that never began

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        ways = [
            asyncio.create_task(_copy(reader, back, self._is_unheard)),
            asyncio.create_task(_copy(there, writer, lambda _: self.is_mute)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, back):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    def _is_unheard(self, said: bytes) -> bool:
        self.is_mute = self.is_mute or (self.mute_at is not None and self.mute_at in said)
        return self.is_deaf


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_lost: Callable[[bytes], bool]) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            if not is_lost(data):
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def address_of(primary: RedisServer) -> AsyncIterator[Address]:
    address = Address(primary=primary)
    listener = await asyncio.start_server(address.accept, "127.0.0.1", 0)
    address.port = listener.sockets[0].getsockname()[1]
    try:
        yield address
    finally:
        listener.close()
        await address.cut()
        await listener.wait_closed()
