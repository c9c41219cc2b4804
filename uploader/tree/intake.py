"""From a walk into the manifest, batch by batch.

What is new is pending; what has another size or modification time than before is pending again, with a new revision;
what is as it was is not written at all, so a scan of an unchanged tree writes nothing. Once all roots are walked, what
was not met has vanished – unless its directory could not be read, in which case nobody knows.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from uploader.tree.filters import Filters
from uploader.tree.manifest import Manifest
from uploader.tree.merge import Merge, Tally, note_missing
from uploader.tree.scan import Entry, PassedOver, Walk
from uploader.tree.seen import Seen

T = TypeVar("T")

BATCH_FILES = 2_000  # ours: large enough for one statement, small enough for a few MB on their way
BATCHES_AHEAD = 4


class ScanStopped(Exception):
    """Somebody has had enough of the scan."""


@dataclass(slots=True, kw_only=True)
class Intake:
    """One scan of all roots of a manifest.

    :ivar tally: so far; written by the writer's thread, read by whoever shows progress.
    """

    manifest: Manifest
    filters: Filters = field(default_factory=Filters)
    follows_symlinks: bool = False
    tally: Tally = field(init=False, default_factory=Tally)
    _is_stopped: bool = field(init=False, default=False)

    def stop(self) -> None:
        """Soon; from any thread. What was found until then is kept."""
        self._is_stopped = True

    def run(self) -> Tally:
        """Walk, and note what was found. To be called in a thread of its own; the manifest is usable meanwhile.

        :raises FileUnusable: a root cannot be walked. What was found until then is kept, and nothing has vanished.
        :raises ManifestUnusable: the disk does not take it.
        :raises ScanStopped: somebody has had enough.
        """
        seen = self.manifest.write(self._begin).result()
        unread: dict[int, set[bytes]] = {}
        for number, root in self.manifest.roots.items():
            walk = Walk(root=root, filters=self.filters, follows_symlinks=self.follows_symlinks)
            unread[number] = set()
            self._stream(_noting(walk, unread[number]), Merge(root=number, seen=seen, tally=self.tally))
        for chunk in _chunks(seen.missing(), BATCH_FILES):
            self.manifest.write(
                lambda connection, chunk=chunk: note_missing(  # type: ignore[misc]
                    connection, chunk, self.filters, unread, self.tally, self.manifest.clock()
                )
            ).result()
        self.manifest.write(self._end).result()
        return self.tally

    def _stream(self, entries: Iterable[Entry], merge: Merge) -> None:
        ahead: list[Future[None]] = []
        for batch in _chunks(entries, BATCH_FILES):
            if self._is_stopped:
                raise ScanStopped
            ahead.append(self.manifest.write(_merging(merge, batch, self.manifest.clock())))
            if len(ahead) >= BATCHES_AHEAD:
                ahead.pop(0).result()
        for future in ahead:
            future.result()

    def _begin(self, connection: sqlite3.Connection) -> Seen:
        connection.execute("UPDATE manifest SET scan_began_ms = ?, scan_ended_ms = NULL", (self.manifest.clock(),))
        (last_id,) = connection.execute("SELECT coalesce(max(id), 0) FROM file").fetchone()
        return Seen(last_id)

    def _end(self, connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE manifest SET scan_ended_ms = ?", (self.manifest.clock(),))


def _merging(merge: Merge, batch: Sequence[Entry], now: int) -> Callable[[sqlite3.Connection], None]:
    return lambda connection: merge.write(connection, batch, now)


def _noting(walk: Walk, unread: set[bytes]) -> Iterator[Entry]:
    """The same entries; directories that could not be read are remembered."""
    for entry in walk:
        if isinstance(entry, PassedOver) and entry.is_directory:
            unread.add(entry.path)
        yield entry


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
