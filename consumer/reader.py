"""How a processor reads its object: the two shapes of `reader`, and what both can do in constant memory.

An async processor gets a `Reader`, which streams from the store. A plain one gets a `FileReader` over a local copy that
was read whole and proved before the function started.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import Protocol

from consumer.errors import LineTooLong, TooLargeForMemory

CHUNK_BYTES = 1_048_576  # ours: what a local file is read by
MAX_LINE_BYTES = 1_048_576  # ours: a hostile file is one line
MAX_MEMORY_BYTES = 67_108_864  # ours: what `read` takes without being told otherwise


class Reader(Protocol):
    """Reads the verified object. A pass over the whole object ends only when length and declared digests hold."""

    async def read(self, *, max_bytes: int = MAX_MEMORY_BYTES) -> bytes:
        """The whole object.

        :raises TooLargeForMemory: it is larger than `max_bytes`.
        """

    def iter_chunks(self, size: int | None = None) -> AsyncIterator[bytes]:
        """The whole object in pieces of `size` bytes; the last may be shorter. None: as they come, the quickest."""

    def iter_lines(self, *, max_bytes: int = MAX_LINE_BYTES) -> AsyncIterator[bytes]:
        """The lines of the object without their ends (LF or CRLF).

        :raises LineTooLong: a line is longer than `max_bytes`.
        """

    async def read_range(self, start: int, end: int, *, max_bytes: int = MAX_MEMORY_BYTES) -> bytes:
        """Bytes `start` up to, not including, `end`; cut at the end of the object."""

    def as_file(self, *, suffix: str = "") -> AbstractAsyncContextManager[Path]:
        """The object as a temporary file, read whole and proved; it is removed afterwards."""


class FileReader(Protocol):
    """The same for a plain function: the object is here already, whole and proved."""

    def read(self, *, max_bytes: int = MAX_MEMORY_BYTES) -> bytes: ...
    def iter_chunks(self, size: int | None = None) -> Iterator[bytes]: ...
    def iter_lines(self, *, max_bytes: int = MAX_LINE_BYTES) -> Iterator[bytes]: ...
    def read_range(self, start: int, end: int, *, max_bytes: int = MAX_MEMORY_BYTES) -> bytes: ...
    def as_file(self, *, suffix: str = "") -> AbstractContextManager[Path]: ...


class Lines:
    """Cuts pieces into lines, holding back at most one unfinished line."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest: list[bytes] = []
        self._rest_bytes = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """
        :raises LineTooLong:
        """
        first, *others = piece.split(b"\n")
        self._hold(first)
        for other in others:
            yield self._take()
            self._hold(other)

    def end(self) -> Iterator[bytes]:
        """The last line, if it has no end."""
        if self._rest_bytes:
            yield self._take()

    def _hold(self, part: bytes) -> None:
        self._rest.append(part)
        self._rest_bytes += len(part)
        if self._rest_bytes > self._max_bytes + 1:  # one for the CR of its end
            raise LineTooLong(f"a line is longer than {self._max_bytes} bytes")

    def _take(self) -> bytes:
        line = b"".join(self._rest).removesuffix(b"\r")
        self._rest.clear()
        self._rest_bytes = 0
        if len(line) > self._max_bytes:
            raise LineTooLong(f"a line is longer than {self._max_bytes} bytes")
        return line


def span(start: int, end: int, size_bytes: int, max_bytes: int) -> tuple[int, int]:
    """A range as it can be read.

    :raises ValueError, TooLargeForMemory:
    """
    if start < 0 or end < start:
        raise ValueError("a range is 0 <= start <= end")
    start, end = min(start, size_bytes), min(end, size_bytes)
    if end - start > max_bytes:
        raise TooLargeForMemory(f"{end - start} bytes were asked for at once, {max_bytes} permitted")
    return start, end
