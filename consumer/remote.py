"""The reader of an async processor: streams from the store, proves while it reads, in constant memory.

A pass over the whole object verifies length and every digest that nobody else has checked, before it ends. The reader
remembers whether such a pass happened, and the first fault that it met: a processor that swallows the fault does not
turn unproved bytes into a result.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import IO

from consumer.digests import Prover
from consumer.errors import ConsumerError, LeaseLost, ReadFault, SpoolTrouble, TooLargeForMemory
from consumer.reader import MAX_LINE_BYTES, MAX_MEMORY_BYTES, Lines, span
from consumer.source import Source

THREAD_BYTES = 131_072  # ours: hashing fewer bytes costs less than asking a thread to do it


class RemoteReader:
    """A `Reader` over one leased object."""

    def __init__(self, source: Source, prover: Callable[[], Prover], spool: Path | None = None) -> None:
        self._source = source
        self._prover = prover
        self._spool = spool
        self._is_proved = False
        self.fault: ConsumerError | None = None

    async def read(self, *, max_bytes: int = MAX_MEMORY_BYTES) -> bytes:
        size = self._source.size_bytes
        if size > max_bytes:
            raise TooLargeForMemory(f"the object has {size} bytes, {max_bytes} permitted")
        return b"".join([chunk async for chunk in self.iter_chunks()])

    async def iter_chunks(self, size: int | None = None) -> AsyncGenerator[bytes, None]:
        if size is not None and size < 1:
            raise ValueError("a chunk has at least one byte")
        try:
            pieces = self._source.stream(0, self._source.size_bytes)
            chunks = pieces if size is None else _sized(pieces, size)
            async with aclosing(chunks), aclosing(self._proving(chunks)) as proved:
                async for chunk in proved:
                    yield chunk
        except (ReadFault, LeaseLost) as exc:
            self.fault = self.fault or exc
            raise

    async def iter_lines(self, *, max_bytes: int = MAX_LINE_BYTES) -> AsyncGenerator[bytes, None]:
        lines = Lines(max_bytes)
        async with aclosing(self.iter_chunks()) as chunks:
            async for chunk in chunks:
                for line in lines.feed(chunk):
                    yield line
        for line in lines.end():
            yield line

    async def read_range(self, start: int, end: int, *, max_bytes: int = MAX_MEMORY_BYTES) -> bytes:
        start, end = span(start, end, self._source.size_bytes, max_bytes)
        if start == end:
            return b""
        try:
            async with aclosing(self._source.stream(start, end)) as pieces:
                return b"".join([piece async for piece in pieces])
        except (ReadFault, LeaseLost) as exc:
            self.fault = self.fault or exc
            raise

    @asynccontextmanager
    async def as_file(self, *, suffix: str = "") -> AsyncIterator[Path]:
        try:
            handle, name = tempfile.mkstemp(suffix=suffix, prefix="upload-", dir=self._spool)
        except OSError as exc:
            raise self._spool_trouble(exc) from None
        path = Path(name)
        try:
            with os.fdopen(handle, "wb", buffering=0) as file:
                await self.copy_to(file)
            yield path
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def copy_to(self, file: IO[bytes]) -> None:
        """Writes the whole object, proved, into an unbuffered file."""
        async with aclosing(self.iter_chunks()) as chunks:
            async for chunk in chunks:
                try:
                    await asyncio.to_thread(_write_all, file, chunk)
                except OSError as exc:
                    raise self._spool_trouble(exc) from None

    async def prove(self) -> None:
        """Sees to it that the whole object was read and found to be what was declared.

        :raises ReadFault, LeaseLost: also one that the processor met before.
        """
        if self.fault is not None:
            raise self.fault
        if self._is_proved or self._prover().is_empty:
            return
        async with aclosing(self.iter_chunks()) as chunks:
            async for _ in chunks:
                pass

    async def _proving(self, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Hashes a chunk in a thread while the processor works on it and the next one arrives."""
        prover = self._prover()
        async with aclosing(_Hashing(prover)) as hashing:
            async for chunk in chunks:
                await hashing.add(chunk)
                yield chunk
        prover.finish()
        self._is_proved = True

    def _spool_trouble(self, exc: OSError) -> SpoolTrouble:
        trouble = SpoolTrouble(f"the worker cannot write its temporary file ({os.strerror(exc.errno or 0)})")
        self.fault = self.fault or trouble
        return trouble


class _Hashing:
    """At most one chunk behind."""

    def __init__(self, prover: Prover) -> None:
        self._prover = prover
        self._running: asyncio.Future[None] | None = None

    async def add(self, chunk: bytes) -> None:
        await self.aclose()
        if self._prover.is_empty:
            return
        if len(chunk) < THREAD_BYTES:
            self._prover.update(chunk)
        else:
            self._running = asyncio.get_running_loop().run_in_executor(None, self._prover.update, chunk)

    async def aclose(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            await running


async def _sized(pieces: AsyncGenerator[bytes, None], size: int) -> AsyncGenerator[bytes, None]:
    """Pieces of exactly `size` bytes; the last may be shorter."""
    held: list[bytes] = []
    held_bytes = 0
    async with aclosing(pieces):
        async for piece in pieces:
            held.append(piece)
            held_bytes += len(piece)
            if held_bytes < size:
                continue
            whole = b"".join(held)
            cut = held_bytes - held_bytes % size
            for at in range(0, cut, size):
                yield whole[at : at + size]
            held, held_bytes = [whole[cut:]], held_bytes - cut
    if held_bytes:
        yield b"".join(held)


def _write_all(file: IO[bytes], chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[file.write(view) :]
