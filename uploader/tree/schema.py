"""The manifest's file: SQLite with a write-ahead log (sqlite.org/wal.html), its tables and their migrations.

The number of migrations that a file has seen is its `user_version`, written in the same transaction; `application_id`
says that it is ours. `synchronous = NORMAL`: a process that is killed loses nothing that was committed, a machine that
loses power may lose the last moments, which are repeated: sessions are found again by their keys.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from uploader.tree.errors import ManifestUnusable

APPLICATION_ID = 0x75706C64  # "upld"
CACHE_KIB = 16 << 10  # ours: all that a connection keeps in memory of a file of any size
WAL_PAGES = 4_000  # ours: 16 MB before it is folded in
BUSY_SECONDS = 30  # a checkpoint on a slow disk

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE manifest (
            id TEXT NOT NULL, broker TEXT NOT NULL, destinations TEXT NOT NULL, batch TEXT NOT NULL,
            created_ms INTEGER NOT NULL, scan_began_ms INTEGER, scan_ended_ms INTEGER)""",
        """CREATE TABLE root (id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE)""",
        """CREATE TABLE file (
            id INTEGER PRIMARY KEY,
            root INTEGER NOT NULL REFERENCES root (id),
            path BLOB NOT NULL,
            size_bytes INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            mode INTEGER NOT NULL,
            state TEXT NOT NULL,
            revision INTEGER NOT NULL DEFAULT 0,
            checksum TEXT,
            session_id TEXT,
            attempts INTEGER NOT NULL DEFAULT 0,
            error_code TEXT,
            error_message TEXT,
            gone_ms INTEGER,
            updated_ms INTEGER NOT NULL,
            UNIQUE (root, path))""",
        """CREATE INDEX file_by_size ON file (state, size_bytes)""",
        """CREATE TABLE abandoned (session_id TEXT PRIMARY KEY, since_ms INTEGER NOT NULL) WITHOUT ROWID""",
    ),
)
"""Append only: what stands here has been applied to somebody's file."""


def connect(path: Path, *, mode: str = "rw") -> sqlite3.Connection:
    """
    :param mode: `rw`, or `rwc` to create it.
    :raises ManifestUnusable: it is not there, or cannot be opened.
    """
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,  # transactions are ours to begin
            check_same_thread=False,
        )
    except sqlite3.OperationalError as exc:
        why = "there is no such manifest" if not path.exists() else str(exc)
        raise ManifestUnusable(f"{path}: {why}") from exc
    return connection


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Settings of the connection, and the tables as they are today.

    :raises ManifestUnusable: it is another program's file, a newer uploader's, or broken.
    """
    try:
        _require_ours(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        _tune(connection)
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        _migrate(connection)
    except sqlite3.DatabaseError as exc:
        raise ManifestUnusable(f"{path}: {exc}") from exc


def prepare_reader(connection: sqlite3.Connection, path: Path) -> None:
    """The same for one that only reads, perhaps while another process writes.

    :raises ManifestUnusable: as above, and when no uploader has finished making it.
    """
    try:
        _require_ours(connection, path)
        if _version(connection) != len(MIGRATIONS):
            raise ManifestUnusable(f"{path}: an unfinished or older manifest; the command that made it goes on with it")
        _tune(connection)
        connection.execute("PRAGMA query_only = ON")
    except sqlite3.DatabaseError as exc:
        raise ManifestUnusable(f"{path}: {exc}") from exc


def _require_ours(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and tables:
        raise ManifestUnusable(f"{path}: a database, but no manifest of uploader")
    if _version(connection) > len(MIGRATIONS):
        raise ManifestUnusable(f"{path}: the manifest of a newer uploader")


def _tune(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _migrate(connection: sqlite3.Connection) -> None:
    for number in range(_version(connection), len(MIGRATIONS)):
        with transaction(connection):
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number + 1}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
