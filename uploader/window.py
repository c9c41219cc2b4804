"""One reading of a file for all who send it at the same time.

Whoever is in front reads a piece, the others find it in memory, and nobody waits for anybody: a piece is kept until
all have had it, or until newer ones need its room. Who has fallen so far behind that his piece is gone reads it again
by himself, from wherever he is. So memory stays as it is however slow one of them gets, and a byte comes from the file
once for all who keep up, and at most once more for each who does not.

Each piece is a mapping of its own. On the heap it would belong to the arena of the thread that happened to be in
front: what malloc frees below a younger piece stays with the process, so every thread that was in front for a while
would leave a window's worth of holes behind (mallopt(3), M_TRIM_THRESHOLD and M_ARENA_MAX).
"""

import mmap
import threading
from dataclasses import dataclass, field

from uploader.source import Origin, Source

PIECE_BYTES = 1 << 20
ROOM_BYTES = 16 << 20  # ours: so far may one be behind the front and still find everything; for each who reads
BUDGET_BYTES = 128 << 20  # ours: of all files that one program sends at a time


class Budget:
    """Memory that several windows share. Without any left, everybody reads for himself."""

    def __init__(self, size_bytes: int = BUDGET_BYTES) -> None:
        self._left_bytes = size_bytes
        self._lock = threading.Lock()

    @property
    def left_bytes(self) -> int:
        return self._left_bytes

    def take(self, size_bytes: int) -> bool:
        with self._lock:
            if size_bytes > self._left_bytes:
                return False
            self._left_bytes -= size_bytes
            return True

    def give(self, size_bytes: int) -> None:
        with self._lock:
            self._left_bytes += size_bytes


@dataclass(slots=True)
class _Piece:
    size_bytes: int
    wanted_bytes: int  # until all have had it
    data: memoryview | None = None
    is_read: threading.Event = field(default_factory=threading.Event)


class Window:
    """A source that several read at about the same time, each from its beginning.

    :ivar read_bytes: what was read for all.
    :ivar reread_bytes: what was read again by those who had fallen behind.
    """

    fileno: int | None = None  # bytes in memory, not a file: that is the point
    offset_bytes = 0

    def __init__(self, whole: Source, readers: int, budget: Budget) -> None:
        self._whole = whole
        self._readers = readers
        self._budget = budget
        self._room_bytes = ROOM_BYTES * readers
        self._kept_bytes = 0
        self._kept: dict[int, _Piece] = {}  # by number, the oldest first
        self._was_read = bytearray(-(-whole.size_bytes // PIECE_BYTES))
        self._lock = threading.Lock()
        self.read_bytes = 0
        self.reread_bytes = 0

    @property
    def name(self) -> str:
        return self._whole.name

    @property
    def size_bytes(self) -> int:
        return self._whole.size_bytes

    @property
    def origin(self) -> Origin | None:
        return self._whole.origin

    def read(self, offset: int, size_bytes: int) -> memoryview:
        found = []
        end = offset + size_bytes
        while offset < end:
            number, begin = divmod(offset, PIECE_BYTES)
            found.append(self._read(number, begin, min(end - offset, PIECE_BYTES - begin)))
            offset += len(found[-1])
        return found[0] if len(found) == 1 else memoryview(b"".join(found))

    def check(self) -> None:
        self._whole.check()

    def close(self) -> None:
        """Give the memory back. The whole is somebody else's."""
        with self._lock:
            while self._kept:
                self._drop(next(iter(self._kept)))

    def _read(self, number: int, begin: int, size_bytes: int) -> memoryview:
        piece, is_first = self._claim(number)
        if piece is not None and is_first:
            self._fill(number, piece)
        elif piece is not None:
            piece.is_read.wait()
        if piece is None or piece.data is None:
            return self._read_alone(number * PIECE_BYTES + begin, size_bytes, is_first=is_first)
        with self._lock:
            piece.wanted_bytes -= size_bytes
            if piece.wanted_bytes <= 0 and self._kept.get(number) is piece:
                self._drop(number)
        return piece.data[begin : begin + size_bytes]

    def _claim(self, number: int) -> tuple[_Piece | None, bool]:
        """The piece if it is kept, and whether nobody has had it yet: then the caller is to read it."""
        with self._lock:
            if (kept := self._kept.get(number)) is not None:
                return kept, False
            if self._was_read[number]:
                return None, False
            self._was_read[number] = 1
            size = min(PIECE_BYTES, self.size_bytes - number * PIECE_BYTES)
            if not self._make_room(size):
                return None, True
            piece = self._kept[number] = _Piece(size, size * self._readers)
            return piece, True

    def _make_room(self, size_bytes: int) -> bool:
        while self._kept and self._kept_bytes + size_bytes > self._room_bytes:
            self._drop(next(iter(self._kept)))
        while not self._budget.take(size_bytes):
            if not self._kept:
                return False
            self._drop(next(iter(self._kept)))
        self._kept_bytes += size_bytes
        return True

    def _drop(self, number: int) -> None:
        size_bytes = self._kept.pop(number).size_bytes
        self._kept_bytes -= size_bytes
        self._budget.give(size_bytes)

    def _fill(self, number: int, piece: _Piece) -> None:
        try:
            piece.data = _mapped(self._whole.read(number * PIECE_BYTES, piece.size_bytes))
            self.read_bytes += piece.size_bytes
        finally:
            piece.is_read.set()  # without data the others find out by themselves what is wrong

    def _read_alone(self, offset: int, size_bytes: int, *, is_first: bool) -> memoryview:
        data = self._whole.read(offset, size_bytes)
        if is_first:
            self.read_bytes += size_bytes
        else:
            self.reread_bytes += size_bytes
        return data


def _mapped(data: memoryview) -> memoryview:
    """The same bytes in memory that goes back to the system with the last who looks at it."""
    own = mmap.mmap(-1, len(data))
    own[:] = data
    return memoryview(own).toreadonly()
