"""What a put would do, without doing it: a walk beside a manifest that is only read, if there is one."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

from uploader.tree.filters import Filters
from uploader.tree.reader import Reader
from uploader.tree.rows import Row
from uploader.tree.scan import Entry, Found, PassedOver, Walk
from uploader.tree.states import FileState

BATCH_FILES = 500  # ours: names in one question to the manifest


class Verdict(StrEnum):
    NEW = "new"
    CHANGED = "changed"
    UNFINISHED = "unfinished"
    """an earlier put has not come to its end"""
    VERIFIED = "verified"
    FAILED = "failed"
    """it stays so until `retry`"""
    SKIPPED = "skipped"


TO_SEND = (Verdict.NEW, Verdict.CHANGED, Verdict.UNFINISHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """:ivar known: of an earlier put."""

    root: bytes
    entry: Entry
    verdict: Verdict
    known: Row | None = None

    @property
    def absolute(self) -> bytes:
        return self.root + b"/" + self.entry.path if self.entry.path else self.root

    @property
    def size_bytes(self) -> int:
        return self.entry.size_bytes if isinstance(self.entry, Found) else 0


@dataclass(slots=True, kw_only=True)
class Preview:
    """One walk over all roots. Memory does not grow with the tree.

    :ivar roots: as in the identity.
    :ivar reader: of the manifest, if there is one.
    :ivar files: by verdict, so far.
    :ivar reasons: why files are passed over, so far.
    """

    roots: Sequence[bytes]
    filters: Filters = field(default_factory=Filters)
    follows_symlinks: bool = False
    reader: Reader | None = None
    files: Counter[Verdict] = field(init=False, default_factory=Counter)
    size_bytes: Counter[Verdict] = field(init=False, default_factory=Counter)
    reasons: Counter[str] = field(init=False, default_factory=Counter)

    def __iter__(self) -> Iterator[Foreseen]:
        """:raises FileUnusable: a root cannot be walked."""
        for root in self.roots:
            walk = iter(Walk(root=root, filters=self.filters, follows_symlinks=self.follows_symlinks))
            while batch := list(islice(walk, BATCH_FILES)):
                for each in self._batch(root, batch):
                    self._count(each)
                    yield each

    def _batch(self, root: bytes, batch: Sequence[Entry]) -> Iterable[Foreseen]:
        known = {} if self.reader is None else self.reader.known(root, [entry.path for entry in batch])
        for entry in batch:
            row = known.get(entry.path)
            yield Foreseen(root=root, entry=entry, verdict=_verdict(entry, row), known=row)

    def _count(self, each: Foreseen) -> None:
        self.files[each.verdict] += 1
        self.size_bytes[each.verdict] += each.size_bytes
        if isinstance(each.entry, PassedOver):
            self.reasons[each.entry.code] += 1


def _verdict(entry: Entry, row: Row | None) -> Verdict:
    """As `Merge` decides it."""
    if isinstance(entry, PassedOver):
        return Verdict.SKIPPED
    if row is None or row.state in {FileState.SKIPPED, FileState.VANISHED}:
        return Verdict.NEW
    if (row.size_bytes, row.mtime_ns) != (entry.size_bytes, entry.mtime_ns):
        return Verdict.CHANGED
    if row.state in {FileState.VERIFIED, FileState.FAILED}:
        return Verdict(row.state.value)
    return Verdict.UNFINISHED
