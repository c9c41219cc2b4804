"""Which file of a run has which path: the first that asks, however many there are.

A path of every file would be a memory that grows with the tree, so they lie in a nameless table of SQLite's, which goes
to the disk when it is large and is gone with the process.
"""

import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import Enum, auto
from typing import Self

from uploader.errors import FileUnusable

_INSERT = "INSERT OR IGNORE INTO claim VALUES (?, ?, ?)"


class Claim(Enum):
    OURS = auto()
    OLDER = auto()
    """the same file of the same owner, uploaded again since"""
    TAKEN = auto()
    """another file has this path, or one that this file system takes for the same"""


class Claims:
    """:param folds: names that differ in case alone are one here."""

    def __init__(self, connection: sqlite3.Connection, *, folds: bool) -> None:
        self._connection = connection
        self._folds = folds
        connection.execute("CREATE TABLE claim (path BLOB PRIMARY KEY, told BLOB, owner TEXT) WITHOUT ROWID")

    @classmethod
    @contextmanager
    def open(cls, *, folds: bool) -> Iterator[Self]:
        with closing(sqlite3.connect("", check_same_thread=False)) as connection:
            yield cls(connection, folds=folds)

    def claim(self, path: bytes, owner: str | None, *, is_versioned: bool) -> Claim:
        """
        :param is_versioned: who asks later with the same path has an older version of the file.
        :raises FileUnusable: there is no room for so many.
        """
        key = folded(path) if self._folds else path
        try:
            if self._connection.execute(_INSERT, (key, path, owner)).rowcount:
                return Claim.OURS
            before = self._connection.execute("SELECT told, owner FROM claim WHERE path = ?", (key,)).fetchone()
        except sqlite3.Error as exc:
            raise FileUnusable(f"the temporary table of paths: {exc}") from exc
        return Claim.OLDER if is_versioned and before == (path, owner) else Claim.TAKEN


def folded(path: bytes) -> bytes:
    """One spelling for all that a file system which ignores case, as those of macOS and Windows, takes for one."""
    text = unicodedata.normalize("NFD", path.decode(errors="surrogateescape"))
    return unicodedata.normalize("NFD", text.casefold()).encode(errors="surrogateescape")
