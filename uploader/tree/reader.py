"""Reading a manifest, while another process may be writing it."""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from uploader.tree.errors import ManifestUnusable
from uploader.tree.rows import COLUMNS, SORTED, About, Count, Order, Row
from uploader.tree.schema import connect, prepare_reader
from uploader.tree.states import FileState


class Reader:
    """One connection that only reads. Used by one thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """:raises ManifestUnusable: there is none, or it is not one that we read."""
        with closing(connect(path)) as connection:
            prepare_reader(connection, path)
            try:
                yield cls(connection)
            except sqlite3.DatabaseError as exc:
                raise ManifestUnusable(f"{path}: {exc}") from exc

    def about(self) -> About:
        return about(self._connection)

    def counts(self) -> dict[FileState, Count]:
        """Files and bytes, of every state."""
        found = self._connection.execute("SELECT state, count(*), sum(size_bytes) FROM file GROUP BY state")
        counted = {FileState(state): Count(files, size) for state, files, size in found}
        return {state: counted.get(state, Count(0, 0)) for state in FileState}

    def gone(self) -> int:
        """Files that were sent and are not there any more."""
        (number,) = self._connection.execute("SELECT count(*) FROM file WHERE gone_ms IS NOT NULL").fetchone()
        return int(number)

    def unread(self) -> int:
        """Files and directories that could not be read."""
        statement = "SELECT count(*) FROM file WHERE state = 'skipped' AND error_code = 'unreadable'"
        (number,) = self._connection.execute(statement).fetchone()
        return int(number)

    def rows(
        self, states: Collection[FileState] = (), *, codes: Collection[str] = (), order: Order = "path"
    ) -> Iterator[Row]:
        """
        :param states: of any by default.
        :param codes: of errors, any by default.
        """
        conditions = [
            f"{column} IN ({', '.join('?' * len(values))})"
            for column, values in (("state", states), ("error_code", codes))
            if values
        ]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        statement = f"SELECT {COLUMNS} FROM file {where} ORDER BY {SORTED[order]}"  # noqa: S608 - our own words
        roots = roots_of(self._connection)
        for values in self._connection.execute(statement, (*states, *codes)):
            yield row(values, roots)

    def known(self, root: bytes, paths: Sequence[bytes]) -> dict[bytes, Row]:
        """Those of these paths below that root that are known."""
        roots = roots_of(self._connection)
        numbers = [number for number, path in roots.items() if path == root]
        marks = ", ".join("?" * len(paths))
        statement = f"SELECT {COLUMNS} FROM file WHERE root = ? AND path IN ({marks})"  # noqa: S608
        rows = (
            row(each, roots) for number in numbers for each in self._connection.execute(statement, (number, *paths))
        )
        return {each.path: each for each in rows}


def about(connection: sqlite3.Connection) -> About:
    values = connection.execute(
        "SELECT id, broker, destinations, batch, created_ms, scan_began_ms, scan_ended_ms FROM manifest"
    ).fetchone()
    if values is None:
        raise ManifestUnusable("an unfinished manifest; the command that made it goes on with it")
    identifier, broker, destinations, batch, created, began, ended = values
    return About(
        id=identifier,
        broker=broker,
        destinations=tuple(msgspec.json.decode(destinations, type=list[str])),
        batch=batch,
        roots=tuple(sorted(roots_of(connection).values())),
        created_ms=created,
        scan_began_ms=began,
        scan_ended_ms=ended,
    )


def roots_of(connection: sqlite3.Connection) -> dict[int, bytes]:
    return dict(connection.execute("SELECT id, path FROM root"))


def row(values: tuple[Any, ...], roots: dict[int, bytes]) -> Row:
    """From the columns in `COLUMNS`."""
    identifier, root, path, size, mtime, mode, state, revision, checksum, session, attempts, code, why, gone, at = (
        values
    )
    return Row(
        id=identifier,
        root=roots[root],
        path=path,
        size_bytes=size,
        mtime_ns=mtime,
        mode=mode,
        state=_STATES[state],
        revision=revision,
        checksum=checksum,
        session_id=session,
        attempts=attempts,
        error_code=code,
        error_message=why,
        gone_ms=gone,
        updated_ms=at,
    )


_STATES = {state.value: state for state in FileState}
