"""The manifest of one upload of trees: what there is to send, what became of each file, and who is at work on it.

Scanning streams into it and sending streams out of it, so neither holds the whole list. Everything is written by one
thread; a future that is kept is on the disk. A process that is killed leaves what it had committed; what it had in its
hands is pending again as soon as somebody else opens the manifest.
"""

import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import msgspec

from uploader.tree.errors import ManifestUnusable
from uploader.tree.identity import Identity
from uploader.tree.lock import locked
from uploader.tree.reader import about, roots_of, row
from uploader.tree.rows import COLUMNS, INDEXES, SORTED, About, Failed, Mark, Minted, Order, Row
from uploader.tree.schema import connect, prepare, transaction
from uploader.tree.states import BEFORE, FileState
from uploader.tree.writer import T, Writer

Clock = Callable[[], int]
"""milliseconds since 1970"""


def epoch_ms() -> int:
    return time.time_ns() // 1_000_000


class Manifest:
    """Open for work: nobody else has it.

    :ivar about: what it says of itself; its `id` makes the idempotency keys of this upload its own.
    """

    def __init__(self, writer: Writer, described: About, roots: dict[int, bytes], clock: Clock) -> None:
        self.about = described
        self.clock = clock
        self._writer = writer
        self._roots = roots

    @classmethod
    @contextmanager
    def open(cls, path: Path, identity: Identity | None = None, *, clock: Clock = epoch_ms) -> Iterator[Self]:
        """
        :param identity: what it is to be of; it is made if it is not there. Without one it has to be there.
        :raises ManifestBusy: another process is at work on it.
        :raises ManifestUnusable: it is of another upload, not ours at all, or on a disk that does not take it.
        """
        with ExitStack() as stack:
            if identity is not None:
                _make_room(path)
            elif not path.exists() or not path.stat().st_size:
                raise ManifestUnusable(f"{path}: there is no such manifest")
            stack.enter_context(locked(path))
            connection = connect(path)
            stack.callback(connection.close)
            prepare(connection, path)
            with _translated(path):
                _identify(connection, path, identity, clock())
                described, roots = about(connection), roots_of(connection)
            writer = Writer(connection, str(path))
            stack.callback(writer.close)
            writer.do(lambda writing: _recover(writing, clock())).result()
            try:
                yield cls(writer, described, roots, clock)
            finally:
                _hand_back(writer, clock)

    @property
    def roots(self) -> dict[int, bytes]:
        """By number."""
        return dict(self._roots)

    def idempotency_key(self, file: Mark | Row) -> str:
        """The key to mint with: the same for the same file as long as its session is of use."""
        return key_of(self.about.id, file)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """For the rooms of this package: anything, in the writer's thread and transaction."""
        return self._writer.do(work)

    def serve(self, order: Order) -> Future[None]:
        """Before the first `take` in that order."""
        return self.write(lambda connection: (connection.execute(INDEXES[order]), None)[1])

    def take(self, order: Order, limit: int) -> Future[list[Row]]:
        """The next files to send, in their order; fewer, or none, if that is all. They are claimed until a mark."""
        statement = f"""UPDATE file SET state = 'claimed', updated_ms = ? WHERE id IN (
            SELECT id FROM file WHERE state = 'pending' ORDER BY {SORTED[order]} LIMIT ?) RETURNING {COLUMNS}"""  # noqa: S608

        def work(connection: sqlite3.Connection) -> list[Row]:
            rows = [row(each, self._roots) for each in connection.execute(statement, (self.clock(), limit))]
            return sorted(rows, key=_KEYS[order])

        return self.write(work)

    def unsettled(self, limit: int, after: int = 0) -> Future[list[Row]]:
        """Files with a session whose end is not known, by id: what to ask the broker about first."""
        statement = f"""SELECT {COLUMNS} FROM file
            WHERE id IN (SELECT id FROM file WHERE state IN ('minted', 'sent')) AND id > ? ORDER BY id LIMIT ?"""  # noqa: S608
        return self.write(lambda c: [row(each, self._roots) for each in c.execute(statement, (after, limit))])

    def minted(self, files: Sequence[Minted]) -> Future[int]:
        """These have a session, and somebody begins to send. All of these say how many took the step."""
        values = [(file.session_id, file.checksum, file.id, file.revision) for file in files]
        return self._step(
            FileState.MINTED, "session_id = ?, checksum = coalesce(?, checksum), attempts = attempts + 1", values
        )

    def sent(self, files: Sequence[Mark]) -> Future[int]:
        """The store has all of their bytes."""
        return self._step(FileState.SENT, _UNHARMED, _marks(files))

    def verified(self, files: Sequence[Mark]) -> Future[int]:
        return self._step(FileState.VERIFIED, _UNHARMED, _marks(files))

    def failed(self, files: Sequence[Failed]) -> Future[int]:
        values = [(file.code, file.message, file.id, file.revision) for file in files]
        return self._step(FileState.FAILED, "error_code = ?, error_message = ?", values)

    def released(self, files: Sequence[Mark]) -> Future[int]:
        """Claimed or begun, but not to be finished now: the next who takes them has the same session."""
        return self._step(FileState.PENDING, _UNHARMED, _marks(files))

    def renewed(self, files: Sequence[Mark]) -> Future[int]:
        """Their session is of no use: the next who takes them mints another."""
        return self._step(FileState.PENDING, _RENEWED, _marks(files))

    def retry(self, codes: Collection[str] = ()) -> Future[int]:
        """Whatever failed, or failed for these reasons, is to be sent again with new sessions."""
        where = "state = 'failed'" + (f" AND error_code IN ({', '.join('?' * len(codes))})" if codes else "")
        abandon = f"INSERT OR IGNORE INTO abandoned SELECT session_id, ? FROM file WHERE session_id NOTNULL AND {where}"  # noqa: S608
        again = f"UPDATE file SET {_RENEWED}, {_UNHARMED}, state = 'pending', updated_ms = ? WHERE {where}"  # noqa: S608

        def work(connection: sqlite3.Connection) -> int:
            values = (self.clock(), *codes)
            connection.execute(abandon, values)
            return connection.execute(again, values).rowcount

        return self.write(work)

    def abandon(self, session_ids: Sequence[str]) -> Future[None]:
        """Nobody will finish these: for somebody to abort."""
        values = [(each, self.clock()) for each in session_ids]
        return self.write(lambda c: (c.executemany("INSERT OR IGNORE INTO abandoned VALUES (?, ?)", values), None)[1])

    def abandoned(self, limit: int) -> Future[list[str]]:
        """Sessions that nobody will finish, because their files have changed. For somebody to abort."""
        return self.write(
            lambda c: [each for (each,) in c.execute("SELECT session_id FROM abandoned LIMIT ?", (limit,))]
        )

    def forget(self, session_ids: Sequence[str]) -> Future[None]:
        """These are aborted, or have ended by themselves."""
        values = [(each,) for each in session_ids]
        return self.write(lambda c: (c.executemany("DELETE FROM abandoned WHERE session_id = ?", values), None)[1])

    def _step(self, state: FileState, changes: str, values: Sequence[tuple[object, ...]]) -> Future[int]:
        before = ", ".join(f"'{each}'" for each in sorted(BEFORE[state]))
        now = self.clock()
        statement = (
            f"UPDATE file SET {changes}, state = '{state}', updated_ms = {now}"  # noqa: S608 - our own words
            f" WHERE id = ? AND revision = ? AND state IN ({before})"
        )
        return self.write(lambda connection: connection.executemany(statement, values).rowcount)


_UNHARMED = "error_code = NULL, error_message = NULL"
_RENEWED = "revision = revision + 1, session_id = NULL, checksum = NULL"

_KEYS: dict[Order, Callable[[Row], tuple[object, ...]]] = {
    "size": lambda file: (file.size_bytes, file.id),
    "path": lambda file: (file.root, file.path),
    "mtime": lambda file: (file.mtime_ns, file.id),
}


def key_of(manifest_id: str, file: Mark | Row) -> str:
    return f"{manifest_id}-{file.id}-{file.revision}"


def _marks(files: Sequence[Mark]) -> list[tuple[object, ...]]:
    return [(file.id, file.revision) for file in files]


def _make_room(path: Path) -> None:
    """An empty file that its owner alone may read; SQLite gives the same rights to those that it puts beside it."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as exc:
        raise ManifestUnusable(f"{os.fsdecode(exc.filename or path)}: {exc.strerror}") from exc


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise ManifestUnusable(f"{path}: {exc}") from exc


def _identify(connection: sqlite3.Connection, path: Path, identity: Identity | None, now: int) -> None:
    if identity is None:
        return
    with transaction(connection):
        if connection.execute("SELECT 1 FROM manifest").fetchone() is None:
            destinations = msgspec.json.encode(identity.destinations).decode()
            connection.execute(
                "INSERT INTO manifest VALUES (?, ?, ?, ?, ?, NULL, NULL)",
                (uuid.uuid4().hex, identity.broker, destinations, identity.batch, now),
            )
            connection.executemany("INSERT INTO root (path) VALUES (?)", [(root,) for root in identity.roots])
    if other := _difference(about(connection), identity):
        raise ManifestUnusable(f"{path}: the manifest of another upload: {other}")


def _difference(described: About, identity: Identity) -> str | None:
    """The first thing in which they differ, with what the manifest has."""
    if described.broker != identity.broker:
        return f"to the broker {described.broker}"
    if described.destinations != identity.destinations:
        return f"to {', '.join(described.destinations) or 'the default destination'}"
    if described.batch != identity.batch:
        return f"batch {described.batch!r}"
    return "of other paths" if described.roots != identity.roots else None


def _hand_back(writer: Writer, clock: Clock) -> None:
    """Whoever reads it now sees that nobody has anything in his hands. What fails here, the next open does."""
    with suppress(ManifestUnusable):
        writer.do(lambda connection: _recover(connection, clock())).result()


def _recover(connection: sqlite3.Connection, now: int) -> None:
    """What a process had in its hands when it ended."""
    connection.execute("UPDATE file SET state = 'pending', updated_ms = ? WHERE state = 'claimed'", (now,))
