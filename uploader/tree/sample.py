"""Trees to try things on: the same options make the same names, sizes, bytes and modification times everywhere.

File number n has a head that names its number and then one pseudo-random MiB over and over, begun at a place of its
own, so that no two files are equal unless they are too short to differ. With `links` above 1 only one file in so many
is written and the others are hard links to it, which share its bytes, size and time: for benches that count files.
"""

import errno
import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from uploader.errors import FileUnusable
from uploader.tree.sizes import Sizes

FILES_A_DIRECTORY = 1_000  # ours: what a person or a camera leaves in one place
MAX_LINKS = 60_000  # ours; ext4(5): at most 65,000 hard links to a file
BLOCK_BYTES = 1 << 20
PAGE = Sizes(least_bytes=4096, most_bytes=4096)
FIRST_MTIME = 1_577_836_800  # 2020-01-01T00:00:00Z; file n is n seconds younger

ODD_NAMES: tuple[bytes, ...] = (
    b"-rf",
    b"--help",
    b".hidden",
    b" leading and trailing ",
    b"new\nline",
    b"tab\tand\x1b[31mescape",
    b"quote'\"`$(true);",
    b"back\\slash",
    b"*?[star]{a,b}",
    b"percent%2Fand%00",
    b"plus+and&equals=#hash",
    b"trailing.",
    b"...",
    "naïve café.txt".encode(),
    "cafe\u0301 decomposed.txt".encode(),
    "日本語のファイル.txt".encode(),
    "folder 🗂 and family 👩‍👩‍👧.txt".encode(),
    "right\u202eto-left gpj.exe".encode(),
    b"not utf-8 \xff\xfe\x80.bin",
    b"latin-1 caf\xe9.txt",
    b"x" * 255,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a sample came to."""

    files: int
    directories: int
    size_bytes: int


@dataclass(slots=True)
class _Tally:
    files: int = 0
    directories: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The order for one tree.

    :ivar depth: directories above each file.
    :ivar links: how many names each file has; see above.
    :ivar has_odd_names: in `odd/`, besides the files: one for each name that has broken a program somewhere.
    :ivar empty: so many files of 0 bytes in `empty/`, besides the others.
    :ivar sparse_bytes: one file of that size in `sparse/`, of a byte at either end and a hole between.
    """

    files: int
    depth: int = 2
    sizes: Sizes = PAGE
    seed: int = 0
    links: int = 1
    has_odd_names: bool = False
    empty: int = 0
    sparse_bytes: int = 0

    def make(self, directory: Path) -> Made:
        """Make it in a directory that is empty or not there yet.

        :raises FileUnusable: there is something already, or the disk does not take it.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with os.scandir(directory) as listing:
                if next(listing, None) is not None:
                    raise FileUnusable(f"{directory}: not empty; a sample goes into a directory of its own")
            return self._make(directory)
        except OSError as exc:
            raise FileUnusable(f"{directory}: {exc.strerror}") from exc

    def _make(self, directory: Path) -> Made:
        tally = _Tally()
        block = random.Random(self.seed).randbytes(BLOCK_BYTES)  # noqa: S311 - test data
        sizes = random.Random(self.seed + 1)  # noqa: S311
        press = _Press(self.seed, memoryview(block + block), tally)
        self._fill_leaves(directory, press, sizes)
        numbers = count(self.files)
        for name, names in self._extras():
            with _opened(directory / name, tally) as place:
                for each in names:
                    self._write_extra(place, each, name, press, next(numbers), sizes)
        return Made(files=tally.files, directories=tally.directories, size_bytes=tally.size_bytes)

    def _fill_leaves(self, directory: Path, press: "_Press", sizes: random.Random) -> None:
        for leaf, first in enumerate(range(0, self.files, FILES_A_DIRECTORY)):
            folder = directory.joinpath(*self._steps(leaf))
            with _opened(folder, press.tally) as place:
                for number in range(first, min(first + FILES_A_DIRECTORY, self.files)):
                    name = b"f%08d.bin" % number
                    if number % self.links:
                        press.link(place, name)
                    else:
                        size_bytes = self.sizes.draw(sizes)
                        press.write(place, name, number, size_bytes)
                        press.original = (os.fsencode(folder) + b"/" + name, size_bytes)

    def _steps(self, leaf: int) -> Iterator[str]:
        """The directories down to one of the leaves, which are as evenly spread as the depth allows."""
        leaves = -(-self.files // FILES_A_DIRECTORY)
        fan_out = next(width for width in count(1) if width ** max(self.depth, 1) >= leaves)
        for level in reversed(range(self.depth)):
            yield f"d{leaf // fan_out**level % fan_out:03}"

    def _extras(self) -> Iterator[tuple[str, tuple[bytes, ...]]]:
        if self.has_odd_names:
            yield "odd", ODD_NAMES
        if self.empty:
            yield "empty", tuple(f"e{number:08}".encode() for number in range(self.empty))
        if self.sparse_bytes:
            yield "sparse", (b"sparse.bin",)

    def _write_extra(
        self, place: int, name: bytes, kind: str, press: "_Press", number: int, sizes: random.Random
    ) -> None:
        if kind == "sparse":
            press.write_sparse(place, name, number, self.sparse_bytes)
            return
        try:
            press.write(place, name, number, 0 if kind == "empty" else self.sizes.draw(sizes))
        except OSError as exc:
            if exc.errno not in {errno.EILSEQ, errno.EINVAL}:  # a file system that wants UTF-8 has no such files
                raise


@dataclass(slots=True)
class _Press:
    """Writes numbered files and links.

    :ivar block: the content twice, so that every beginning has a whole one behind it.
    :ivar original: path and size of what is linked to.
    """

    seed: int
    block: memoryview
    tally: _Tally
    original: tuple[bytes, int] = (b"", 0)

    def write(self, place: int, name: bytes, number: int, size_bytes: int) -> None:
        with _created(place, name, number) as fileno:
            head = hashlib.blake2b(f"{self.seed}/{number}".encode(), digest_size=16).digest()[:size_bytes]
            begin = number * 4_099 % BLOCK_BYTES
            tail = size_bytes - len(head)
            os.writev(fileno, [head, self.block[begin : begin + min(tail, BLOCK_BYTES)]])
            for done in range(BLOCK_BYTES, tail, BLOCK_BYTES):
                os.write(fileno, self.block[begin : begin + min(tail - done, BLOCK_BYTES)])
        self._count(size_bytes)

    def write_sparse(self, place: int, name: bytes, number: int, size_bytes: int) -> None:
        with _created(place, name, number) as fileno:
            os.ftruncate(fileno, size_bytes)
            os.pwrite(fileno, b"\x01", 0)
            os.pwrite(fileno, b"\x02", size_bytes - 1)
        self._count(size_bytes)

    def link(self, place: int, name: bytes) -> None:
        path, size_bytes = self.original
        os.link(path, name, dst_dir_fd=place)
        self._count(size_bytes)

    def _count(self, size_bytes: int) -> None:
        self.tally.files += 1
        self.tally.size_bytes += size_bytes


@contextmanager
def _created(place: int, name: bytes, number: int) -> Iterator[int]:
    fileno = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=place)
    try:
        yield fileno
        mtime_ns = (FIRST_MTIME + number) * 1_000_000_000
        os.utime(fileno, ns=(mtime_ns, mtime_ns))
    finally:
        os.close(fileno)


@contextmanager
def _opened(directory: Path, tally: _Tally) -> Iterator[int]:
    """The directory, made with all above it, as a descriptor."""
    missing = [each for each in (directory, *directory.parents) if not each.exists()]
    tally.directories += len(missing)
    directory.mkdir(parents=True, exist_ok=True)
    fileno = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fileno
    finally:
        os.close(fileno)
