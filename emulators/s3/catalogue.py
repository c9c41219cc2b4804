"""What the store knows: buckets, object versions and multipart uploads, in one SQLite file.

Bytes lie in blob files (`blobs.py`) that nothing points at until a row here says so: the commit of that row is the one
instant at which an object exists, with body and metadata together, and a crash before or after it leaves the old or
the new. All calls are short and synchronous on the event loop, so a check and the write after it cannot be
interleaved; that is what makes `If-None-Match: *` atomic. Keys are stored as bytes, hence listed in the order that S3
promises (UTF-8 binary).
"""

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from emulators.blobs import Segment

NULL_VERSION: Final = "null"
ALL_BLOCKS: Final = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
ENFORCED: Final = "BucketOwnerEnforced"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, key BLOB NOT NULL, seq INTEGER NOT NULL, version TEXT NOT NULL,
    is_latest INTEGER NOT NULL, is_marker INTEGER NOT NULL, record BLOB NOT NULL,
    PRIMARY KEY (bucket, key, seq)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS latest ON objects (bucket, key) WHERE is_latest = 1 AND is_marker = 0;
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, key BLOB NOT NULL, record BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY (upload, number)
) WITHOUT ROWID;
"""


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """`versioning` is `""` (never asked for), `Enabled` or `Suspended`; `blocks` are those that are on, None without a
    configuration; `ownership` is `""` without one."""

    name: str
    owner: str
    created: float
    versioning: str = ""
    cors: bytes = b""
    policy: bytes = b""
    lifecycle: bytes = b""
    blocks: tuple[str, ...] | None = ALL_BLOCKS
    ownership: str = ENFORCED

    @property
    def has_acls(self) -> bool:
        return self.ownership != ENFORCED

    def has_block(self, name: str) -> bool:
        return self.blocks is not None and name in self.blocks


class Checksum(msgspec.Struct, frozen=True, kw_only=True):
    """A checksum as S3 returns it: base64, with `-N` behind it when composite."""

    algorithm: str
    value: str
    kind: str = "FULL_OBJECT"


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one object, or a delete marker."""

    version: str
    seq: int
    modified: float
    owner: str
    size_bytes: int = 0
    etag: str = ""
    headers: Mapping[str, str] = {}
    metadata: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    checksum: Checksum | None = None
    segments: tuple[Segment, ...] = ()
    part_sizes: tuple[int, ...] = ()
    is_public: bool = False
    is_marker: bool = False

    @property
    def version_id(self) -> str | None:
        """The id as S3 shows it: none in a bucket that never had versioning."""
        return None if self.version == NULL_VERSION else self.version


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A multipart upload that is neither completed nor aborted; `template` is the object that it will become."""

    id: str
    bucket: str
    key: str
    created: float
    algorithm: str | None
    kind: str
    template: Stored


class Part(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    size_bytes: int
    etag: str
    modified: float
    checksum: Checksum | None
    segments: tuple[Segment, ...]


Blobs = list[str]


class Catalogue:
    """Every method that replaces or removes something returns the blobs that nothing points at any more."""

    def __init__(self, path: Path, *, is_fsynced: bool) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f"PRAGMA synchronous = {'FULL' if is_fsynced else 'NORMAL'}")
        self._db.executescript(_SCHEMA)
        self._seq = int(self._db.execute("SELECT coalesce(max(seq), 0) FROM objects").fetchone()[0])

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

    def next_seq(self) -> int:
        """Strictly rising, across restarts too: it orders versions and is the `sequencer` of events."""
        self._seq = max(self._seq + 1, time.time_ns())
        return self._seq

    def blobs(self) -> set[str]:
        """Every blob that something points at."""
        found = (
            msgspec.msgpack.decode(row[0], type=_Segments)
            for row in self._db.execute("SELECT record FROM objects UNION ALL SELECT record FROM parts")
        )
        return {segment.blob for each in found for segment in each.segments}

    # Buckets

    def bucket(self, name: str) -> Bucket | None:
        row = self._db.execute("SELECT record FROM buckets WHERE name = ?", (name,)).fetchone()
        return row and msgspec.msgpack.decode(row[0], type=Bucket)

    def buckets(self) -> list[Bucket]:
        rows = self._db.execute("SELECT record FROM buckets ORDER BY name").fetchall()
        return [msgspec.msgpack.decode(row[0], type=Bucket) for row in rows]

    def put_bucket(self, bucket: Bucket) -> None:
        self._db.execute("REPLACE INTO buckets VALUES (?, ?)", (bucket.name, msgspec.msgpack.encode(bucket)))

    def is_empty(self, name: str) -> bool:
        found = "SELECT 1 FROM objects WHERE bucket = ?1 UNION ALL SELECT 1 FROM uploads WHERE bucket = ?1 LIMIT 1"
        return self._db.execute(found, (name,)).fetchone() is None

    def delete_bucket(self, name: str) -> None:
        self._db.execute("DELETE FROM buckets WHERE name = ?", (name,))

    # Objects

    def latest(self, bucket: str, key: str) -> Stored | None:
        """The newest version, which may be a delete marker."""
        return self._one("bucket = ? AND key = ? ORDER BY seq DESC LIMIT 1", bucket, key.encode())

    def version(self, bucket: str, key: str, version: str) -> Stored | None:
        return self._one("bucket = ? AND key = ? AND version = ?", bucket, key.encode(), version)

    def _one(self, where: str, *values: object) -> Stored | None:
        row = self._db.execute(f"SELECT record FROM objects WHERE {where}", values).fetchone()  # noqa: S608 - constants
        return row and msgspec.msgpack.decode(row[0], type=Stored)

    def put(self, bucket: str, key: str, stored: Stored) -> Blobs:
        """Make `stored` the latest version; a version of the same id (`null`) is replaced."""
        with self._transaction():
            return self._put(bucket, key.encode(), stored)

    def _put(self, bucket: str, key: bytes, stored: Stored) -> Blobs:
        freed = self._remove(bucket, key, stored.version)
        self._db.execute(
            "UPDATE objects SET is_latest = 0 WHERE bucket = ? AND key = ? AND is_latest = 1", (bucket, key)
        )
        self._db.execute(
            "INSERT INTO objects VALUES (?, ?, ?, ?, 1, ?, ?)",
            (bucket, key, stored.seq, stored.version, stored.is_marker, msgspec.msgpack.encode(stored)),
        )
        return freed

    def update(self, bucket: str, key: str, stored: Stored) -> None:
        """Replace the record of a version that exists (its tags)."""
        self._db.execute(
            "UPDATE objects SET record = ? WHERE bucket = ? AND key = ? AND seq = ?",
            (msgspec.msgpack.encode(stored), bucket, key.encode(), stored.seq),
        )

    def remove(self, bucket: str, key: str, version: str) -> Blobs:
        """Remove one version for good; the next older one becomes the latest."""
        with self._transaction():
            freed = self._remove(bucket, key.encode(), version)
            self._db.execute(
                "UPDATE objects SET is_latest = 1 WHERE bucket = ?1 AND key = ?2 AND seq = "
                "(SELECT max(seq) FROM objects WHERE bucket = ?1 AND key = ?2)",
                (bucket, key.encode()),
            )
            return freed

    def _remove(self, bucket: str, key: bytes, version: str) -> Blobs:
        rows = self._db.execute(
            "DELETE FROM objects WHERE bucket = ? AND key = ? AND version = ? RETURNING record", (bucket, key, version)
        ).fetchall()
        return [s.blob for row in rows for s in msgspec.msgpack.decode(row[0], type=_Segments).segments]

    def list_latest(self, bucket: str, prefix: str, after: bytes, limit: int) -> list[tuple[str, Stored]]:
        """Objects whose key starts with `prefix` and comes after `after`, in order."""
        low, high = prefix.encode(), _prefix_end(prefix.encode())
        rows = self._db.execute(
            "SELECT key, record FROM objects WHERE bucket = ? AND is_latest = 1 AND is_marker = 0 AND key > ? "
            "AND key >= ? AND (? IS NULL OR key < ?) ORDER BY key LIMIT ?",
            (bucket, after, low, high, high, limit),
        ).fetchall()
        return [(key.decode(), msgspec.msgpack.decode(record, type=Stored)) for key, record in rows]

    def list_versions(
        self, bucket: str, prefix: str, after_key: str, before_seq: int, limit: int
    ) -> list[tuple[str, bool, Stored]]:
        """Versions of every key with the prefix, newest first within a key; whether each is the latest.

        Starts after `after_key`, or, with a `before_seq`, at the versions of that key that are older.
        """
        low, high = prefix.encode(), _prefix_end(prefix.encode())
        rows = self._db.execute(
            "SELECT key, is_latest, record FROM objects WHERE bucket = ? AND key >= ? AND (? IS NULL OR key < ?) "
            "AND (key > ? OR (key = ? AND seq < ?)) ORDER BY key, seq DESC LIMIT ?",
            (bucket, low, high, high, after_key.encode(), after_key.encode(), before_seq, limit),
        ).fetchall()
        return [(key.decode(), bool(latest), msgspec.msgpack.decode(rec, type=Stored)) for key, latest, rec in rows]

    # Multipart uploads

    def put_upload(self, upload: Upload) -> None:
        row = (upload.id, upload.bucket, upload.key.encode(), msgspec.msgpack.encode(upload))
        self._db.execute("INSERT INTO uploads VALUES (?, ?, ?, ?)", row)

    def upload(self, bucket: str, key: str, upload_id: str) -> Upload | None:
        row = self._db.execute(
            "SELECT record FROM uploads WHERE id = ? AND bucket = ? AND key = ?", (upload_id, bucket, key.encode())
        ).fetchone()
        return row and msgspec.msgpack.decode(row[0], type=Upload)

    def uploads(self, bucket: str, prefix: str, after: tuple[bytes, str], limit: int) -> list[Upload]:
        low, high = prefix.encode(), _prefix_end(prefix.encode())
        rows = self._db.execute(
            "SELECT record FROM uploads WHERE bucket = ? AND key >= ? AND (? IS NULL OR key < ?) "
            "AND (key, id) > (?, ?) ORDER BY key, id LIMIT ?",
            (bucket, low, high, high, *after, limit),
        ).fetchall()
        return [msgspec.msgpack.decode(row[0], type=Upload) for row in rows]

    def put_part(self, upload_id: str, part: Part) -> Blobs:
        with self._transaction():
            freed = self._remove_parts("upload = ? AND number = ?", upload_id, part.number)
            row = (upload_id, part.number, msgspec.msgpack.encode(part))
            self._db.execute("INSERT INTO parts VALUES (?, ?, ?)", row)
            return freed

    def parts(self, upload_id: str, after: int = 0, limit: int = -1) -> list[Part]:
        rows = self._db.execute(
            "SELECT record FROM parts WHERE upload = ? AND number > ? ORDER BY number LIMIT ?",
            (upload_id, after, limit),
        ).fetchall()
        return [msgspec.msgpack.decode(row[0], type=Part) for row in rows]

    def abort(self, upload_id: str) -> Blobs:
        with self._transaction():
            self._db.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))
            return self._remove_parts("upload = ?", upload_id)

    def complete(self, upload: Upload, stored: Stored) -> Blobs:
        """The upload becomes the object in one step; parts that it does not use are freed."""
        with self._transaction():
            self._db.execute("DELETE FROM uploads WHERE id = ?", (upload.id,))
            freed = self._remove_parts("upload = ?", upload.id)
            replaced = self._put(upload.bucket, upload.key.encode(), stored)
        kept = {segment.blob for segment in stored.segments}
        return [blob for blob in (*freed, *replaced) if blob not in kept]

    def _remove_parts(self, where: str, *values: object) -> Blobs:
        rows = self._db.execute(f"DELETE FROM parts WHERE {where} RETURNING record", values).fetchall()  # noqa: S608
        return [s.blob for row in rows for s in msgspec.msgpack.decode(row[0], type=_Segments).segments]


class _Segments(msgspec.Struct, frozen=True):
    """The part of a record that names blobs; the rest is skipped unread."""

    segments: tuple[Segment, ...] = ()


def _prefix_end(prefix: bytes) -> bytes | None:
    """The first key after all that start with `prefix`; None when there is no such bound."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None
