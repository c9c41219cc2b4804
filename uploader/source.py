"""Where the bytes come from: a file that must not change while it is read, or bytes in memory.

A file keeps one descriptor from its size to its last byte. Device, inode, size and modification time are compared
before the last piece is handed over, so a file that changed never becomes a complete object in the store.
"""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from uploader.errors import FileChanged, FileUnusable

SMALL_FILE_BYTES = 1 << 20  # ours: read once into memory, so that the hash and the body are the same read


@dataclass(frozen=True, slots=True)
class Origin:
    """The file that bytes come from, and what it looked like when it was opened."""

    path: Path
    seen: os.stat_result = field(repr=False)

    def check(self) -> None:
        """:raises FileChanged: it is no longer what it was."""
        try:
            now = self.path.stat()
        except OSError as exc:
            raise FileChanged(f"{self.path}: the file vanished while it was read ({exc.strerror})") from exc
        if now.st_size != self.seen.st_size:
            verb = "grew" if now.st_size > self.seen.st_size else "shrank"
            raise FileChanged(f"{self.path}: the file {verb} while it was read")
        if _identity(now) != _identity(self.seen):
            raise FileChanged(f"{self.path}: the file was replaced or written while it was read")


class Source(Protocol):
    """Bytes of a known length, readable again from any offset, from any thread."""

    @property
    def name(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def fileno(self) -> int | None:
        """A descriptor that `sendfile` can read from, or None."""

    @property
    def offset_bytes(self) -> int:
        """Where in that descriptor the first byte is."""

    @property
    def origin(self) -> Origin | None:
        """The file, if they come from one."""

    def read(self, offset: int, size_bytes: int) -> memoryview:
        """Exactly that many bytes.

        :raises FileChanged: there are fewer.
        """

    def check(self) -> None:
        """:raises FileChanged: the bytes are no longer the ones that were announced."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySource:
    """Bytes in memory. They cannot change."""

    name: str
    data: bytes
    origin: Origin | None = None
    fileno: int | None = None
    offset_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read(self, offset: int, size_bytes: int) -> memoryview:
        return memoryview(self.data)[offset : offset + size_bytes]

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    """An open regular file."""

    origin: Origin
    fileno: int
    offset_bytes: int = 0

    @classmethod
    def open(cls, path: Path, flags: int = 0) -> Self:
        """
        :param flags: more of them: with O_NOFOLLOW a symbolic link is no file.
        :raises FileUnusable: it is not there, not readable or not a regular file.
        """
        # O_NONBLOCK: opening a FIFO would otherwise wait for a writer; it means nothing on a regular file.
        flags |= os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
        try:
            fileno = os.open(path, flags)
        except OSError as exc:
            raise FileUnusable(f"{path}: {exc.strerror}") from exc
        seen = os.fstat(fileno)
        if not stat.S_ISREG(seen.st_mode):
            os.close(fileno)
            raise FileUnusable(f"{path}: not a regular file")
        return cls(origin=Origin(path, seen), fileno=fileno)

    @property
    def path(self) -> Path:
        return self.origin.path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def size_bytes(self) -> int:
        return self.origin.seen.st_size

    def read(self, offset: int, size_bytes: int) -> memoryview:
        try:
            piece = os.pread(self.fileno, size_bytes, offset)
        except OSError as exc:
            raise FileUnusable(f"{self.path}: {exc.strerror}") from exc
        if len(piece) < size_bytes:
            raise FileChanged(f"{self.path}: the file shrank while it was read")
        return memoryview(piece)

    def check(self) -> None:
        self.origin.check()

    def close(self) -> None:
        os.close(self.fileno)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One part of a source. Whether it is unchanged is a question about the whole."""

    whole: Source
    begin_bytes: int
    size_bytes: int

    @property
    def name(self) -> str:
        return self.whole.name

    @property
    def fileno(self) -> int | None:
        return self.whole.fileno

    @property
    def offset_bytes(self) -> int:
        return self.whole.offset_bytes + self.begin_bytes

    @property
    def origin(self) -> Origin | None:
        return self.whole.origin

    def read(self, offset: int, size_bytes: int) -> memoryview:
        return self.whole.read(self.begin_bytes + offset, size_bytes)

    def check(self) -> None:
        self.whole.check()

    def close(self) -> None:
        """Nothing: the whole is somebody else's."""


def _identity(seen: os.stat_result) -> tuple[int, int, int]:
    return seen.st_dev, seen.st_ino, seen.st_mtime_ns


def open_source(path: Path, flags: int = 0) -> Source:
    """A file, read into memory at once when it is small. May block: call it off the loop.

    :param flags: as for `FileSource.open`.
    :raises FileUnusable: it cannot be read.
    :raises FileChanged: it changed during that one read.
    """
    file = FileSource.open(path, flags)
    if file.size_bytes > SMALL_FILE_BYTES:
        return file
    try:
        data = bytes(file.read(0, file.size_bytes))
        file.check()
    finally:
        file.close()
    return MemorySource(name=file.name, data=data, origin=file.origin)
