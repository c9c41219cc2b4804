"""Files of a manifest as a person reads them on a terminal, and as a script reads them from JSON and CSV.

A name may hold any byte but NUL and `/`: escape sequences for the terminal, line breaks, bytes that are no UTF-8. Here
everything that is not a printable character stands as an escape, so that a line is a line; a script finds the bytes
themselves in `path_base64` wherever `path` is not exactly the name.
"""

import base64
import csv
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec
from msgspec import Struct

from uploader.remarks import size_text
from uploader.tree.rows import About, Count, Row
from uploader.tree.states import UNSETTLED, FileState


def shown(path: bytes) -> str:
    r"""A name on one line: `new\nline`, `caf\xe9`. A backslash is doubled, so nothing looks like what it is not."""
    return "".join(map(_shown, os.fsdecode(path)))


def _shown(letter: str) -> str:
    if letter == "\\":
        return "\\\\"
    if letter.isprintable():
        return letter
    if "\udc80" <= letter <= "\udcff":  # PEP 383: a byte that is no UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    if "\x80" <= letter <= "\xff":  # `\x` of these are the bytes above
        return f"\\u{ord(letter):04x}"
    return letter.encode("unicode_escape").decode()


class FileLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file, for scripts. `path` is as `shown` makes it and, with `root`, what the file system calls it unless
    `path_base64` is there, which is the whole path, byte for byte."""

    root: str
    path: str
    state: FileState
    size_bytes: int
    mtime_ns: int
    mode: str
    attempts: int
    updated_at: datetime
    session_id: str | None = None
    checksum: msgspec.Raw | None = None
    error_code: str | None = None
    error_message: str | None = None
    gone_at: datetime | None = None
    path_base64: str | None = None


def line_of(row: Row) -> FileLine:
    root, path = shown(row.root), shown(row.path)
    is_exact = (os.fsencode(root), os.fsencode(path)) == (row.root, row.path)
    return FileLine(
        root=root,
        path=path,
        state=row.state,
        size_bytes=row.size_bytes,
        mtime_ns=row.mtime_ns,
        mode=f"{row.mode:04o}",
        attempts=row.attempts,
        updated_at=_moment(row.updated_ms),
        session_id=row.session_id,
        checksum=None if row.checksum is None else msgspec.Raw(row.checksum.encode()),
        error_code=row.error_code,
        error_message=row.error_message,
        gone_at=None if row.gone_ms is None else _moment(row.gone_ms),
        path_base64=None if is_exact else base64.b64encode(row.absolute).decode(),
    )


def write_json(rows: Iterable[Row], out: TextIO) -> None:
    """One object a line."""
    out.writelines(msgspec.json.encode(line_of(row)).decode() + "\n" for row in rows)


def write_csv(rows: Iterable[Row], out: TextIO) -> None:
    """RFC 4180 with a header; lines end as on this system, and what is absent is empty."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FileLine.__struct_fields__)
    for row in rows:
        named: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(line_of(row), checksum=None))
        named["checksum"] = row.checksum
        writer.writerow([named.get(field) for field in FileLine.__struct_fields__])


def failure_line(row: Row) -> str:
    message = " ".join((row.error_message or row.state).split())  # a refusal has a line for each field
    return f"{shown(row.absolute)}: {message} [{row.error_code or row.state}]"


class Status(Struct, frozen=True, kw_only=True):
    """How far a manifest is, for scripts.

    :ivar gone: files that were found once and are not there any more.
    """

    broker: str
    destinations: tuple[str, ...]
    batch: str
    roots: list[str]
    is_scanned: bool
    files: dict[FileState, Count]
    gone: int

    @classmethod
    def of(cls, about: About, counts: dict[FileState, Count], gone: int) -> "Status":
        return cls(
            broker=about.broker,
            destinations=about.destinations,
            batch=about.batch,
            roots=[shown(root) for root in about.roots],
            is_scanned=about.is_scanned,
            files=counts,
            gone=gone,
        )

    @property
    def failed(self) -> int:
        return self.files[FileState.FAILED].files

    @property
    def is_finished(self) -> bool:
        """Nothing is left to do, well or badly."""
        return self.is_scanned and not any(self.files[state].files for state in (*UNSETTLED, FileState.PENDING))


def status_lines(status: Status) -> Iterator[str]:
    destinations = ", ".join(status.destinations) or "the default destination"
    yield f"batch {shown(os.fsencode(status.batch)) or '-'} to {destinations} by {status.broker}"
    yield from (f"  {root}" for root in status.roots)
    if not status.is_scanned:
        yield "  the scan has not come to its end: there may be more files"
    for state, count in status.files.items():
        if count.files:
            yield f"  {state:<9} {count.files:>12,}  {size_text(count.size_bytes)}"
    if status.gone:
        yield f"  {status.gone:,} of them are not there any more"


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
