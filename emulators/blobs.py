"""Bytes on disk: immutable files, written aside, and moved into place just before the catalogue names them.

`DIR/incoming/ID` is a body that is still arriving, `DIR/blobs/XX/ID` one that is complete. What lies there without a
row in the catalogue was left by a crash and is removed at the next start.
"""

import asyncio
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from emulators import checksums

BATCH_BYTES: Final = 1 << 20  # hashed and written off the event loop in one go; two batches a request at most
INLINE_BYTES: Final = 1 << 17  # below this a hop to a thread costs more than it gives


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A run of an object's bytes: a whole blob file."""

    blob: str
    size_bytes: int


class Blobs:
    """The files of one data directory."""

    def __init__(self, root: Path, *, is_fsynced: bool) -> None:
        self._blobs, self._incoming = root / "blobs", root / "incoming"
        self._is_fsynced = is_fsynced
        self._readers: Counter[str] = Counter()
        self._doomed: set[str] = set()
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._incoming.mkdir(parents=True)
        for shard in range(256):
            (self._blobs / f"{shard:02x}").mkdir(parents=True, exist_ok=True)

    def sweep(self, known: set[str]) -> None:
        """Remove what a crash left behind."""
        for path in self._blobs.glob("??/*"):
            if path.name not in known:
                path.unlink()

    def path(self, blob: str) -> Path:
        return self._blobs / blob[:2] / blob

    def spool(self, digests: Iterable[str]) -> "Spool":
        return Spool(self._incoming / uuid.uuid4().hex, digests, is_fsynced=self._is_fsynced)

    def adopt(self, spool: "Spool") -> tuple[Segment, ...]:
        """Move a finished body into place. It exists for nobody until the catalogue says so."""
        if spool.size_bytes == 0:
            return ()
        target = self.path(spool.path.name)
        spool.path.rename(target)
        if self._is_fsynced:
            _sync_directory(target.parent)
        return (Segment(blob=spool.path.name, size_bytes=spool.size_bytes),)

    def link(self, segments: Iterable[Segment]) -> tuple[Segment, ...]:
        """A copy that costs nothing: blobs never change, so a second name is as good as second bytes."""
        return tuple(self._link(segment) for segment in segments)

    def _link(self, segment: Segment) -> Segment:
        copy = Segment(blob=uuid.uuid4().hex, size_bytes=segment.size_bytes)
        self.path(copy.blob).hardlink_to(self.path(segment.blob))
        return copy

    def remove(self, blobs: Iterable[str]) -> None:
        """Remove files that nothing points at; those being read go when their last reader has left."""
        for blob in blobs:
            if self._readers[blob]:
                self._doomed.add(blob)
            else:
                self.path(blob).unlink(missing_ok=True)

    @contextmanager
    def reading(self, segments: Iterable[Segment]) -> Iterator[None]:
        """Keep these files, though their object may be overwritten or deleted meanwhile."""
        names = [segment.blob for segment in segments]
        self._readers.update(names)
        try:
            yield
        finally:
            self._readers.subtract(names)
            free = {name for name in names if not self._readers[name]}
            for name in free:
                del self._readers[name]
            self.remove(free & self._doomed)
            self._doomed -= free

    def read(self, segments: Iterable[Segment], start: int, length: int, step: int) -> Iterator[bytes]:
        """`length` bytes from `start` on, across segments, at most `step` at a time."""
        for segment in segments:
            if start >= segment.size_bytes:
                start -= segment.size_bytes
                continue
            if length <= 0:
                return
            taken = min(length, segment.size_bytes - start)
            yield from self._read_file(segment.blob, start, taken, step)
            start, length = 0, length - taken

    def _read_file(self, blob: str, start: int, length: int, step: int) -> Iterator[bytes]:
        with self.path(blob).open("rb", buffering=0) as file:
            while length > 0:
                data = os.pread(file.fileno(), min(step, length), start)
                if not data:
                    raise OSError(f"blob {blob} is shorter than its record says")
                yield data
                start, length = start + len(data), length - len(data)


class Spool:
    """A body on its way to disk, hashed as it passes.

    Hashing and writing a batch runs in a thread while the next batch arrives: hashlib releases the interpreter lock.
    """

    def __init__(self, path: Path, digests: Iterable[str], *, is_fsynced: bool) -> None:
        self.path = path
        self.size_bytes = 0
        self._digests = {name: checksums.new(name) for name in digests}
        self._is_fsynced = is_fsynced
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._in_flight: asyncio.Future[None] | None = None
        self._file: int | None = None

    async def write(self, data: bytes) -> None:
        self._pending.append(data)
        self._pending_bytes += len(data)
        self.size_bytes += len(data)
        if self._pending_bytes >= BATCH_BYTES:
            await self._landed()
            batch, self._pending, self._pending_bytes = self._pending, [], 0
            self._in_flight = asyncio.get_running_loop().run_in_executor(None, self._store, batch)

    async def finish(self) -> Mapping[str, bytes]:
        """All bytes are written; their digests."""
        await self._landed()
        batch, self._pending = self._pending, []
        if self._pending_bytes <= INLINE_BYTES and not self._is_fsynced:
            self._store(batch)
        else:
            await asyncio.get_running_loop().run_in_executor(None, self._store_last, batch)
        self._close()
        return {name: digest.digest() for name, digest in self._digests.items()}

    async def cut(self, size_bytes: int) -> None:
        """Of a finished body, keep the beginning. Its digests are those of the whole."""
        if size_bytes < self.size_bytes:
            await asyncio.get_running_loop().run_in_executor(None, os.truncate, self.path, size_bytes)
            self.size_bytes = size_bytes

    async def discard(self) -> None:
        """Forget the body. Safe at any time, also after it was adopted."""
        if self._in_flight is not None:
            await asyncio.wait({self._in_flight})
        self._close()
        self.path.unlink(missing_ok=True)

    async def _landed(self) -> None:
        if self._in_flight is not None:
            await self._in_flight

    def _store(self, batch: list[bytes]) -> None:
        for data in batch:
            for digest in self._digests.values():
                digest.update(data)
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor(), view) :]

    def _descriptor(self) -> int:
        """The file, made with its first byte: an empty object needs none."""
        if self._file is None:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        return self._file

    def _store_last(self, batch: list[bytes]) -> None:
        self._store(batch)
        if self._is_fsynced and self._file is not None:
            os.fsync(self._file)

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _sync_directory(path: Path) -> None:
    """A new name is as lasting as the directory that holds it."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
