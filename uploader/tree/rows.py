"""What is read from a manifest and what is written to it."""

from typing import Literal

from msgspec import Struct

from uploader.tree.states import FileState

Order = Literal["size", "path", "mtime"]

SORTED: dict[Order, str] = {"size": "size_bytes, id", "path": "root, path", "mtime": "mtime_ns, id"}
INDEXES: dict[Order, str] = {
    "size": "CREATE INDEX IF NOT EXISTS file_by_size ON file (state, size_bytes)",
    "path": "CREATE INDEX IF NOT EXISTS file_by_path ON file (state, root, path)",
    "mtime": "CREATE INDEX IF NOT EXISTS file_by_mtime ON file (state, mtime_ns)",
}
"""An index costs every file something: there is the one by size, which counting needs, and what is asked for."""

COLUMNS = (
    "id, root, path, size_bytes, mtime_ns, mode, state, revision, checksum, session_id, attempts,"
    " error_code, error_message, gone_ms, updated_ms"
)


class Row(Struct, frozen=True, kw_only=True, gc=False):
    """A file as the manifest knows it.

    :ivar path: below the root, as the file system spells it; empty if the root is the file.
    :ivar revision: raised whenever what was known of a session is of no use any more.
    :ivar checksum: what was declared, as JSON of `broker.contract.Checksum`.
    :ivar attempts: how often somebody began to send it.
    :ivar gone_ms: when a scan did not find it any more.
    """

    id: int
    root: bytes
    path: bytes
    size_bytes: int
    mtime_ns: int
    mode: int
    state: FileState
    revision: int
    checksum: str | None
    session_id: str | None
    attempts: int
    error_code: str | None
    error_message: str | None
    gone_ms: int | None
    updated_ms: int

    @property
    def absolute(self) -> bytes:
        return self.root + b"/" + self.path if self.path else self.root


class Mark(Struct, frozen=True, kw_only=True, gc=False):
    """Which file, as it was when the sender took it; a newer revision is left alone."""

    id: int
    revision: int


class Minted(Mark, frozen=True, kw_only=True, gc=False):
    session_id: str
    checksum: str | None = None


class Failed(Mark, frozen=True, kw_only=True, gc=False):
    code: str
    message: str


class Count(Struct, frozen=True):
    files: int
    size_bytes: int


class About(Struct, frozen=True, kw_only=True):
    """What a manifest says of itself. Times are milliseconds since 1970."""

    id: str
    broker: str
    destinations: tuple[str, ...]
    batch: str
    roots: tuple[bytes, ...]
    created_ms: int
    scan_began_ms: int | None
    scan_ended_ms: int | None

    @property
    def is_scanned(self) -> bool:
        """The last scan came to its end, so nothing is missing here."""
        return self.scan_ended_ms is not None
