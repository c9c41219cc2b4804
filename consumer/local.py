"""The reader of a plain function: an open file that has no name, read by position and in constant memory."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consumer.errors import TooLargeForMemory
from consumer.reader import CHUNK_BYTES, MAX_LINE_BYTES, MAX_MEMORY_BYTES, Lines, span


class LocalReader:
    """A `FileReader` over one descriptor."""

    def __init__(self, file: int, size_bytes: int) -> None:
        self._file = file
        self._size_bytes = size_bytes

    def read(self, *, max_bytes: int = MAX_MEMORY_BYTES) -> bytes:
        if self._size_bytes > max_bytes:
            raise TooLargeForMemory(f"the object has {self._size_bytes} bytes, {max_bytes} permitted")
        return b"".join(self.iter_chunks())

    def iter_chunks(self, size: int | None = None) -> Iterator[bytes]:
        size = CHUNK_BYTES if size is None else size
        if size < 1:
            raise ValueError("a chunk has at least one byte")
        for at in range(0, self._size_bytes, size):
            yield self._exactly(at, min(at + size, self._size_bytes))

    def iter_lines(self, *, max_bytes: int = MAX_LINE_BYTES) -> Iterator[bytes]:
        lines = Lines(max_bytes)
        for chunk in self.iter_chunks():
            yield from lines.feed(chunk)
        yield from lines.end()

    def read_range(self, start: int, end: int, *, max_bytes: int = MAX_MEMORY_BYTES) -> bytes:
        return self._exactly(*span(start, end, self._size_bytes, max_bytes))

    @contextmanager
    def as_file(self, *, suffix: str = "") -> Iterator[Path]:
        """A path that this process can open. A program that it starts can too, if it inherits the descriptor.

        :param suffix: for parsers that go by the name's end.
        """
        os.lseek(self._file, 0, os.SEEK_SET)
        own = Path(f"/proc/self/fd/{self._file}")
        path = own if own.exists() else Path(f"/dev/fd/{self._file}")
        if not suffix:
            yield path
            return
        with tempfile.TemporaryDirectory(prefix="upload-") as directory:
            link = Path(directory, f"object{suffix}")
            link.symlink_to(path)
            yield link

    def _exactly(self, start: int, end: int) -> bytes:
        pieces: list[bytes] = []
        while start < end:
            piece = os.pread(self._file, end - start, start)
            if not piece:
                raise EOFError("the file is shorter than the object")
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)
