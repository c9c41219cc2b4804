"""What a scan has found against what the manifest knows: the statements for one batch, in the writer's transaction."""

import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from uploader.tree.filters import Filters
from uploader.tree.scan import Entry, Found, PassedOver
from uploader.tree.seen import Seen
from uploader.tree.states import RESTING, UNSETTLED, FileState

ROWS_A_STATEMENT = 500  # sqlite.org/limits.html, 9: at least 32,766 parameters; 4 a row

_COLUMNS = "root, path, size_bytes, mtime_ns, mode, state, updated_ms"
_INSERT = f"INSERT INTO file ({_COLUMNS}) SELECT ?, column1, column2, column3, column4, 'pending', ? FROM (VALUES "  # noqa: S608
_INSERT_MANY = _INSERT + ", ".join(["(?, ?, ?, ?)"] * ROWS_A_STATEMENT) + ") WHERE true ON CONFLICT DO NOTHING"
_INSERT_ONE = f"INSERT INTO file ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, 'pending', ?) ON CONFLICT DO NOTHING"  # noqa: S608
"""A directory that changes while it is read may list a name twice (POSIX, readdir): the first counts."""

_AGAIN = """UPDATE file SET size_bytes = ?, mtime_ns = ?, mode = ?, state = 'pending', revision = revision + 1,
    checksum = NULL, session_id = NULL, attempts = 0, error_code = NULL, error_message = NULL, gone_ms = NULL,
    updated_ms = ? WHERE id = ?"""
_THERE = "UPDATE file SET mode = ?, gone_ms = NULL, updated_ms = ? WHERE id = ?"
_MEANT = """UPDATE file SET mode = ?, gone_ms = NULL, updated_ms = ?, state = 'pending', error_code = NULL,
    error_message = NULL WHERE id = ?"""
_SKIPPED = """INSERT INTO file (root, path, size_bytes, mtime_ns, mode, state, error_code, error_message, updated_ms)
    VALUES (?, ?, 0, 0, 0, 'skipped', ?, ?, ?) ON CONFLICT DO NOTHING"""


@dataclass(slots=True)
class Tally:
    """What a scan came to. `passed_over` counts entries that are not sent, by whatever reason; `todo_*` what is to be
    sent because of this scan."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    passed_over: int = 0
    vanished: int = 0
    size_bytes: int = 0
    todo_files: int = 0
    todo_bytes: int = 0

    def add(self, found: Found) -> None:
        """It is to be sent."""
        self.todo_files += 1
        self.todo_bytes += found.size_bytes


class _Known(NamedTuple):
    id: int
    path: bytes
    size_bytes: int
    mtime_ns: int
    mode: int
    state: str
    error_code: str | None
    session_id: str | None
    gone_ms: int | None


_KNOWN = f"SELECT {', '.join(_Known._fields)} FROM file WHERE "  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Of one root. All of it happens in the writer's thread."""

    root: int
    seen: Seen
    tally: Tally

    def write(self, connection: sqlite3.Connection, batch: Sequence[Entry], now: int) -> None:
        known = {} if self.seen.is_first else self._known(connection, batch)
        new: list[Found] = []
        for entry in batch:
            before = known.get(entry.path)
            if before is not None:
                self.seen.add(before.id)
            if isinstance(entry, PassedOver):
                self._pass_over(connection, entry, before, now)
            elif before is None:
                new.append(entry)
                self.tally.add(entry)
            else:
                self._compare(connection, entry, before, now)
        self._insert(connection, new, now)
        self.tally.size_bytes += sum(entry.size_bytes for entry in batch if isinstance(entry, Found))

    def _known(self, connection: sqlite3.Connection, batch: Sequence[Entry]) -> dict[bytes, _Known]:
        marks = ", ".join("?" * len(batch))
        rows = connection.execute(
            f"{_KNOWN} root = ? AND path IN ({marks})", (self.root, *(entry.path for entry in batch))
        )
        return {known.path: known for known in map(_Known._make, rows)}

    def _insert(self, connection: sqlite3.Connection, new: Sequence[Found], now: int) -> None:
        count = connection.total_changes
        whole = len(new) - len(new) % ROWS_A_STATEMENT
        for begin in range(0, whole, ROWS_A_STATEMENT):
            values: list[object] = [self.root, now]
            for file in new[begin : begin + ROWS_A_STATEMENT]:
                values += (file.path, file.size_bytes, file.mtime_ns, file.mode)
            connection.execute(_INSERT_MANY, values)
        connection.executemany(
            _INSERT_ONE,
            [(self.root, file.path, file.size_bytes, file.mtime_ns, file.mode, now) for file in new[whole:]],
        )
        self.tally.new += connection.total_changes - count

    def _compare(self, connection: sqlite3.Connection, found: Found, before: _Known, now: int) -> None:
        if (found.size_bytes, found.mtime_ns) != (before.size_bytes, before.mtime_ns):
            _abandon(connection, before, now)
            connection.execute(_AGAIN, (found.size_bytes, found.mtime_ns, found.mode, now, before.id))
            self.tally.changed += 1
            self.tally.add(found)
            return
        self.tally.unchanged += 1
        if before.state in {FileState.SKIPPED, FileState.VANISHED}:
            connection.execute(_MEANT, (found.mode, now, before.id))
            self.tally.add(found)
        elif found.mode != before.mode or before.gone_ms is not None:
            connection.execute(_THERE, (found.mode, now, before.id))

    def _pass_over(self, connection: sqlite3.Connection, entry: PassedOver, before: _Known | None, now: int) -> None:
        self.tally.passed_over += 1
        if before is None:
            connection.execute(_SKIPPED, (self.root, entry.path, entry.code, entry.message, now))
        elif entry.code == "vanished":
            self.tally.vanished += _note_vanished(connection, before, now)
        elif before.state in RESTING and (before.state, before.error_code) != (FileState.SKIPPED, entry.code):
            _skip(connection, before, entry.code, entry.message, now)


def note_missing(
    connection: sqlite3.Connection,
    identifiers: Sequence[int],
    filters: Filters,
    unread: Mapping[int, set[bytes]],
    tally: Tally,
    now: int,
) -> None:
    """What the scan has not met: vanished, not meant any more, or behind a door that did not open.

    :param unread: by root, the directories that could not be read.
    """
    marks = ", ".join("?" * len(identifiers))
    statement = f"SELECT root, {', '.join(_Known._fields)} FROM file WHERE id IN ({marks})"  # noqa: S608
    for root, *values in connection.execute(statement, identifiers).fetchall():
        before = _Known._make(values)
        if _is_below(before.path, unread.get(root, set())):
            continue
        if before.path and not filters.reaches(os.fsdecode(before.path)):
            if before.state in RESTING and (before.state, before.error_code) != (FileState.SKIPPED, "excluded"):
                _skip(connection, before, "excluded", "left out by --include or --exclude", now)
        else:
            tally.vanished += _note_vanished(connection, before, now)


def _is_below(path: bytes, directories: set[bytes]) -> bool:
    if not directories:
        return False
    return b"" in directories or any(path[:index] in directories for index in range(len(path)) if path[index] == 0x2F)


def _note_vanished(connection: sqlite3.Connection, before: _Known, now: int) -> bool:
    """True if that is news. A reason to skip is forgotten with what it was about."""
    if before.state == FileState.SKIPPED and before.session_id is None:
        connection.execute("DELETE FROM file WHERE id = ?", (before.id,))
        return False
    state = FileState.VANISHED if before.state in RESTING else before.state
    if before.gone_ms is not None and state == before.state:
        return False
    connection.execute(
        "UPDATE file SET state = ?, gone_ms = ?, updated_ms = ? WHERE id = ?", (state, now, now, before.id)
    )
    return True


def _skip(connection: sqlite3.Connection, before: _Known, code: str, message: str, now: int) -> None:
    connection.execute(
        "UPDATE file SET state = 'skipped', error_code = ?, error_message = ?, updated_ms = ? WHERE id = ?",
        (code, message, now, before.id),
    )


def _abandon(connection: sqlite3.Connection, before: _Known, now: int) -> None:
    """The session of what the file was before is nobody's any more."""
    if before.session_id is not None and before.state in UNSETTLED | {FileState.FAILED}:
        connection.execute("INSERT OR IGNORE INTO abandoned VALUES (?, ?)", (before.session_id, now))
