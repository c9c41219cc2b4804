"""A request body for aiohttp that takes the cheapest way to the socket.

Small bodies go out with the headers in one write. Larger ones go through a `Pump` on a plain connection, and
through the transport, piece by piece, where the connection is encrypted (TLS wants the bytes in user space).
"""

import asyncio
from concurrent.futures import Executor
from datetime import timedelta

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from uploader import pump
from uploader.errors import UploadFailed
from uploader.events import Meter
from uploader.source import Source
from uploader.threads import ends_by_itself, in_thread

AT_ONCE_BYTES = 1 << 16  # fits into any socket buffer, together with its headers
PIECE_BYTES = 1 << 18  # of an encrypted body: few enough wake-ups, little memory
LAST_WORDS = timedelta(seconds=5)  # how long an answer may take to arrive after our writing broke


class SourceBody(Payload):
    """A source as the body of one request, sent once: trying again is the engine's decision, not aiohttp's."""

    _autoclose = True

    def __init__(self, source: Source, meter: Meter, *, executor: Executor, stall: timedelta) -> None:
        super().__init__(source)
        self._size = source.size_bytes
        self._source = source
        self._meter = meter
        self._executor = executor
        self._stall = stall
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self.failure: UploadFailed | None = None

    async def idle(self) -> None:
        """Until nobody reads the source on behalf of this body any more."""
        await self._is_idle.wait()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002
        raise TypeError("a body is not text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:  # noqa: ARG002
        self._consumed = True  # or aiohttp would send it again by itself after a reset
        self._is_idle.clear()
        try:
            await self._write(writer)
        except UploadFailed as exc:
            self.failure = exc  # aiohttp wraps what is raised here; the sender looks for this
            raise
        finally:
            self._is_idle.set()

    async def _write(self, writer: AbstractStreamWriter) -> None:
        if self._source.size_bytes <= AT_ONCE_BYTES:
            await self._write_at_once(writer)
        elif (descriptor := _plain_descriptor(writer)) is not None:
            await self._write_pumped(writer, descriptor)
        else:
            await self._write_pieces(writer)

    async def _write_at_once(self, writer: AbstractStreamWriter) -> None:
        data = self._source.read(0, self._source.size_bytes)
        self._source.check()
        await writer.write(data)
        self._meter.done_bytes = len(data)

    async def _write_pumped(self, writer: AbstractStreamWriter, descriptor: int) -> None:
        writer.send_headers()
        await _flushed(writer)
        job = pump.Pump(descriptor, self._source, self._meter, self._stall)
        try:
            await in_thread(self._executor, job.stop, job.run)
        except TimeoutError:
            raise
        except OSError:
            # The reading side of the connection decides: it delivers the answer, or notices the same break.
            await asyncio.sleep(LAST_WORDS.total_seconds())
            raise

    async def _write_pieces(self, writer: AbstractStreamWriter) -> None:
        size = self._source.size_bytes
        for offset in range(0, size, PIECE_BYTES):
            piece = await in_thread(
                self._executor, ends_by_itself, self._source.read, offset, min(PIECE_BYTES, size - offset)
            )
            if offset + PIECE_BYTES >= size:
                self._source.check()
            async with asyncio.timeout(self._stall.total_seconds()):
                await writer.write(piece)
            self._meter.done_bytes = offset + len(piece)


def _plain_descriptor(writer: AbstractStreamWriter) -> int | None:
    transport = writer.transport
    if transport is None or not pump.IS_AVAILABLE or transport.get_extra_info("sslcontext") is not None:
        return None
    connection = transport.get_extra_info("socket")
    return None if connection is None else int(connection.fileno())


async def _flushed(writer: AbstractStreamWriter) -> None:
    """Until the headers are in the kernel's hands. `drain` is content with a buffer that is merely not full."""
    transport = writer.transport
    pause = 0.0
    while transport is not None and transport.get_write_buffer_size():
        await asyncio.sleep(pause)
        pause = 0.002
