"""Small files are read once: what is hashed is what is sent. A chunk of them at a time, in a thread.

A file counts only if it is what the scan saw, before and after it was read. Then the bytes in memory cannot change.
"""

import base64
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from broker.contract import Checksum
from uploader.checksums import Algorithm
from uploader.transfer.items import Small
from uploader.tree.rows import Row
from uploader.tree.scan import mtime_of


@dataclass(frozen=True, slots=True)
class Unreadable:
    row: Row
    message: str


@dataclass(frozen=True, slots=True)
class Changed:
    """It is not what the scan saw, or not there any more."""

    row: Row


Read = Small | Unreadable | Changed


@dataclass(slots=True, kw_only=True)
class Reading:
    """
    :ivar algorithms: digests that are declared of a file of that size.
    :ivar follows_symlinks: otherwise a link that has taken a file's place leads nowhere.
    :ivar needs_md5: a store names what it has got by its MD5, which is compared where it proves nothing by itself.
    """

    algorithms: Callable[[int], Sequence[Algorithm]]
    follows_symlinks: bool
    needs_md5: bool = True

    def read(self, rows: Sequence[Row]) -> list[Read]:
        """Blocks. In order."""
        return [self._read(row) for row in rows]

    def _read(self, row: Row) -> Read:
        try:
            body = self._body(row)
        except (FileNotFoundError, NotADirectoryError):
            return Changed(row)
        except OSError as exc:
            is_link = exc.errno == errno.ELOOP
            return Changed(row) if is_link else Unreadable(row, exc.strerror or "unreadable")
        return Changed(row) if body is None else self._hashed(row, body)

    def _body(self, row: Row) -> bytes | None:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: a FIFO would wait for a writer
        fileno = os.open(row.absolute, flags if self.follows_symlinks else flags | os.O_NOFOLLOW)
        try:
            if not is_as_seen(row, os.fstat(fileno)):
                return None
            body = os.read(fileno, row.size_bytes + 1)
            return body if len(body) == row.size_bytes and is_as_seen(row, os.fstat(fileno)) else None
        finally:
            os.close(fileno)

    def _hashed(self, row: Row, body: bytes) -> Small:
        wanted = self.algorithms(len(body))
        checksum, md5 = digests(body, wanted, needs_md5=self.needs_md5)
        return Small(row=row, body=body, checksum=checksum, md5=md5)


def digests(body: bytes, wanted: Sequence[Algorithm], *, needs_md5: bool) -> tuple[Checksum, bytes]:
    """What to declare; and the MD5, if it is needed or declared."""
    is_declared = "md5" in wanted
    md5 = hashlib.md5(body, usedforsecurity=False).digest() if needs_md5 or is_declared else b""
    sha256 = _base64(hashlib.sha256(body).digest()) if "sha256" in wanted else None
    return Checksum(sha256=sha256, md5=_base64(md5) if is_declared else None), md5


def is_as_seen(row: Row, now: os.stat_result) -> bool:
    return now.st_size == row.size_bytes and mtime_of(now) == row.mtime_ns and stat.S_ISREG(now.st_mode)


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
