"""What the store knows: buckets, object generations, upload sessions and what is still to be published, in one SQLite
file.

Bytes lie in blob files (`emulators/blobs.py`) that nothing points at until a row here says so: the commit of that row
is the one instant at which an object exists, and its notifications with it. All calls are short and synchronous on the
event loop, so a precondition and the write after it cannot be interleaved. Names are stored as bytes, hence listed in
the order of UTF-8.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from emulators.blobs import Segment
from emulators.gcs.records import Bucket, Post, Session, SessionState, Stored

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, name BLOB NOT NULL, generation INTEGER NOT NULL, is_live INTEGER NOT NULL,
    record BLOB NOT NULL, PRIMARY KEY (bucket, name, generation)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS live ON objects (bucket, name) WHERE is_live = 1;
CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS chunks (
    session TEXT NOT NULL, start INTEGER NOT NULL, blob TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    PRIMARY KEY (session, start)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB NOT NULL);
"""


class Catalogue:
    """Every method that replaces or removes something returns the blobs that nothing points at any more."""

    def __init__(self, path: Path, *, is_fsynced: bool) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f"PRAGMA synchronous = {'FULL' if is_fsynced else 'NORMAL'}")
        self._db.executescript(_SCHEMA)
        self._generation = int(self._db.execute("SELECT coalesce(max(generation), 0) FROM objects").fetchone()[0])

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def next_generation(self) -> int:
        """Strictly rising, as the service's are: microseconds since 1970."""
        self._generation = max(self._generation + 1, time.time_ns() // 1000)
        return self._generation

    def blobs(self) -> set[str]:
        """Every blob that something points at."""
        rows = self._db.execute("SELECT record FROM objects")
        found = {each.blob for row in rows for each in msgspec.msgpack.decode(row[0], type=_Segments).segments}
        return found | {row[0] for row in self._db.execute("SELECT blob FROM chunks")}

    # Buckets

    def bucket(self, name: str) -> Bucket | None:
        row = self._db.execute("SELECT record FROM buckets WHERE name = ?", (name,)).fetchone()
        return row and msgspec.msgpack.decode(row[0], type=Bucket)

    def put_bucket(self, bucket: Bucket) -> None:
        self._db.execute("REPLACE INTO buckets VALUES (?, ?)", (bucket.name, msgspec.msgpack.encode(bucket)))

    # Objects

    def live(self, bucket: str, name: str) -> Stored | None:
        return self._one("bucket = ? AND name = ? AND is_live = 1", bucket, name.encode())

    def generation(self, bucket: str, name: str, generation: int) -> Stored | None:
        return self._one("bucket = ? AND name = ? AND generation = ?", bucket, name.encode(), generation)

    def _one(self, where: str, *values: object) -> Stored | None:
        row = self._db.execute(f"SELECT record FROM objects WHERE {where}", values).fetchone()  # noqa: S608 - constants
        return row and msgspec.msgpack.decode(row[0], type=Stored)

    def put(
        self, bucket: Bucket, stored: Stored, *, session: Session | None = None, posts: Iterable[Post] = ()
    ) -> list[str]:
        """Make `stored` the live generation: what lived before is archived where the bucket keeps versions, else gone.

        The session that it came by, if any, ends in the same step.
        """
        with self._transaction():
            freed = self._retire(bucket, stored.name, stored.created)
            self._insert(bucket.name, stored, is_live=True)
            self._queue(posts)
            if session is not None:
                self._put_session(session)
                self._db.execute("DELETE FROM chunks WHERE session = ?", (session.id,))
            return freed

    def retire(self, bucket: Bucket, name: str, *, posts: Iterable[Post] = ()) -> list[str]:
        """Nothing lives under this name any more; what did is archived where the bucket keeps versions."""
        with self._transaction():
            self._queue(posts)
            return self._retire(bucket, name, time.time())

    def remove(self, bucket: str, stored: Stored, *, posts: Iterable[Post] = ()) -> list[str]:
        """Remove one generation for good."""
        with self._transaction():
            self._queue(posts)
            self._delete(bucket, stored)
            return [segment.blob for segment in stored.segments]

    def update(self, bucket: str, stored: Stored, *, posts: Iterable[Post] = ()) -> None:
        """Replace the record of a generation that exists (its metadata)."""
        with self._transaction():
            self._queue(posts)
            self._db.execute(
                "UPDATE objects SET record = ? WHERE bucket = ? AND name = ? AND generation = ?",
                (msgspec.msgpack.encode(stored), bucket, stored.name.encode(), stored.generation),
            )

    def _retire(self, bucket: Bucket, name: str, moment: float) -> list[str]:
        old = self.live(bucket.name, name)
        if old is None:
            return []
        self._delete(bucket.name, old)
        if not bucket.is_versioned:
            return [segment.blob for segment in old.segments]
        self._insert(bucket.name, msgspec.structs.replace(old, deleted=moment), is_live=False)
        return []

    def _insert(self, bucket: str, stored: Stored, *, is_live: bool) -> None:
        row = (bucket, stored.name.encode(), stored.generation, is_live, msgspec.msgpack.encode(stored))
        self._db.execute("INSERT INTO objects VALUES (?, ?, ?, ?, ?)", row)

    def _delete(self, bucket: str, stored: Stored) -> None:
        where = (bucket, stored.name.encode(), stored.generation)
        self._db.execute("DELETE FROM objects WHERE bucket = ? AND name = ? AND generation = ?", where)

    def page(
        self, bucket: str, low: bytes, high: bytes | None, after: tuple[bytes, int], *, all_versions: bool, limit: int
    ) -> list[Stored]:
        """Objects with `low` <= name < `high`, behind `after` (name and generation), in order."""
        rows = self._db.execute(
            "SELECT record FROM objects WHERE bucket = ? AND name >= ? AND (? IS NULL OR name < ?) "
            "AND (name, generation) > (?, ?) AND (? OR is_live = 1) ORDER BY name, generation LIMIT ?",
            (bucket, low, high, high, *after, all_versions, limit),
        ).fetchall()
        return [msgspec.msgpack.decode(row[0], type=Stored) for row in rows]

    # Resumable sessions

    def session(self, session_id: str) -> Session | None:
        row = self._db.execute("SELECT record FROM sessions WHERE id = ?", (session_id,)).fetchone()
        return row and msgspec.msgpack.decode(row[0], type=Session)

    def put_session(self, session: Session) -> None:
        self._put_session(session)

    def _put_session(self, session: Session) -> None:
        self._db.execute("REPLACE INTO sessions VALUES (?, ?)", (session.id, msgspec.msgpack.encode(session)))

    def add_chunk(self, session_id: str, start: int, segment: Segment) -> None:
        row = (session_id, start, segment.blob, segment.size_bytes)
        self._db.execute("INSERT INTO chunks VALUES (?, ?, ?, ?)", row)

    def chunks(self, session_id: str, start: int = 0) -> Sequence[Segment]:
        """What arrived, in order, from the chunk that starts at `start`."""
        rows = self._db.execute(
            "SELECT blob, size_bytes FROM chunks WHERE session = ? AND start >= ? ORDER BY start", (session_id, start)
        ).fetchall()
        return tuple(Segment(blob=blob, size_bytes=size_bytes) for blob, size_bytes in rows)

    def offset(self, session_id: str) -> int:
        """How many bytes arrived."""
        found = "SELECT coalesce(max(start + size_bytes), 0) FROM chunks WHERE session = ?"
        return int(self._db.execute(found, (session_id,)).fetchone()[0])

    def end_session(self, session: Session) -> list[str]:
        """Cancelled, failed or over: its bytes are gone, its name is remembered."""
        with self._transaction():
            self._put_session(session)
            rows = self._db.execute("DELETE FROM chunks WHERE session = ? RETURNING blob", (session.id,)).fetchall()
            return [row[0] for row in rows]

    def end_sessions_before(self, moment: float) -> list[str]:
        """The ones whose time is over."""
        rows = self._db.execute("SELECT record FROM sessions").fetchall()
        all_sessions = (msgspec.msgpack.decode(row[0], type=Session) for row in rows)
        over = [each for each in all_sessions if each.expires <= moment and each.state is SessionState.OPEN]
        return [blob for each in over for blob in self.end_session(each)]

    # Notifications

    def _queue(self, posts: Iterable[Post]) -> None:
        self._db.executemany("INSERT INTO outbox (record) VALUES (?)", [(msgspec.msgpack.encode(p),) for p in posts])

    def posts(self, after: int) -> list[tuple[int, Post]]:
        """What is still to be published."""
        rows = self._db.execute("SELECT id, record FROM outbox WHERE id > ? ORDER BY id", (after,)).fetchall()
        return [(row[0], msgspec.msgpack.decode(row[1], type=Post)) for row in rows]

    def forget_post(self, post_id: int) -> None:
        self._db.execute("DELETE FROM outbox WHERE id = ?", (post_id,))


class _Segments(msgspec.Struct, frozen=True):
    """The part of a record that names blobs; the rest is skipped unread."""

    segments: tuple[Segment, ...] = ()
