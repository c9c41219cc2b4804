"""A file that is not what the scan saw: looked at again, and merged as the scan would."""

import os
import sqlite3
import stat
from collections.abc import Mapping, Sequence

from uploader.transfer.reading import is_as_seen
from uploader.tree.merge import Merge, Tally
from uploader.tree.rows import Row
from uploader.tree.scan import Found, mtime_of
from uploader.tree.seen import Seen

Now = tuple[Row, os.stat_result | None]
"""A file, and what it is now; None: it is gone, or no regular file any more."""

_RELEASE = "UPDATE file SET state = 'pending', updated_ms = ? WHERE id = ? AND revision = ?"
_ABANDON = """INSERT OR IGNORE INTO abandoned SELECT session_id, ? FROM file
    WHERE id = ? AND revision = ? AND session_id NOTNULL"""
_GONE = """UPDATE file SET state = 'vanished', gone_ms = ?, updated_ms = ?, revision = revision + 1, checksum = NULL,
    session_id = NULL WHERE id = ? AND revision = ?"""
_HELD = " AND state IN ('claimed', 'minted', 'sent')"


def look_again(rows: Sequence[Row], *, follows_symlinks: bool) -> list[Now]:
    """Blocks."""
    return [(row, _stat(row, follows_symlinks)) for row in rows]


def write(connection: sqlite3.Connection, found: Sequence[Now], roots: Mapping[bytes, int], now: int) -> list[bool]:
    """In the writer's transaction. For each whether it is still there.

    What a scan has seen meanwhile is newer than this: only rows of the same revision are touched.
    """
    for row, seen in found:
        where = (row.id, row.revision)
        if seen is None:
            connection.execute(_ABANDON + _HELD, (now, *where))
            connection.execute(_GONE + _HELD, (now, now, *where))
        elif is_as_seen(row, seen):
            connection.execute(_RELEASE + _HELD, (now, *where))
        else:
            merge = Merge(root=roots[row.root], seen=Seen(row.id), tally=Tally())
            merge.write(connection, [_found(row, seen)], now)
    return [seen is not None for _, seen in found]


def _stat(row: Row, follows_symlinks: bool) -> os.stat_result | None:
    try:
        seen = os.stat(row.absolute, follow_symlinks=follows_symlinks)  # noqa: PTH116 - bytes
    except OSError:
        return None
    return seen if stat.S_ISREG(seen.st_mode) else None


def _found(row: Row, seen: os.stat_result) -> Found:
    return Found(path=row.path, size_bytes=seen.st_size, mtime_ns=mtime_of(seen), mode=seen.st_mode & 0o7777)
