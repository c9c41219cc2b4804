"""What an interrupted upload leaves behind, so that the same command goes on with it.

One small file for one upload under `$XDG_STATE_HOME/upload-broker` (XDG Base Directory Specification 0.8; by default
`~/.local/state`), readable by its owner alone. It names the broker, the file and the session and holds no secret:
whoever goes on needs the key. While somebody works on the upload the file is locked (flock(2)), so two commands never
share a session; the kernel opens the lock of a process that was killed.
"""

import fcntl
import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from broker.contract import Checksum, CreateUploadSession
from uploader.checksums import Algorithm, spelled

MAX_NOTE_BYTES = 1 << 16  # a path is at most 4 KiB


class Note(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An upload that has begun. Without `session_id` it was not heard whether there is one: the key and the digests
    that were declared bring it back. After `expires_at` the note is of no use. The URL of a resumable upload is not
    in here, for it is a secret: whoever goes on asks the broker for it.
    """

    broker: str
    path: str
    size_bytes: int
    mtime_ns: int
    session_id: str
    expires_at: datetime
    idempotency_key: str = ""
    checksum: Checksum | None = None
    strategy: Literal["", "resumable"] = ""

    def is_of(self, seen: os.stat_result) -> bool:
        """The file is still what it was then, by size and modification time."""
        return (self.size_bytes, self.mtime_ns) == (seen.st_size, seen.st_mtime_ns)


@dataclass(slots=True)
class Page:
    """The place for the note of one upload. Nobody else writes to it from the first `read` or `write` to `close`."""

    path: Path
    _descriptor: int | None = field(default=None, init=False, repr=False)

    def read(self) -> Note | None:
        """What an earlier command has left, if it is legible and nobody is at work on it."""
        self._descriptor = _locked(self.path, os.O_RDWR)
        return None if self._descriptor is None else _parsed(os.pread(self._descriptor, MAX_NOTE_BYTES, 0))

    def write(self, note: Note) -> bool:
        """False where a note cannot be left: the directory is not writable, or another command holds the place."""
        if self._descriptor is None:
            with suppress(OSError):
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = _locked(self.path, os.O_RDWR | os.O_CREAT)
        if self._descriptor is None:
            return False
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, msgspec.json.encode(note), 0)
        except OSError:  # the disk is full
            self.remove()
            return False
        return True

    def remove(self) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                self.path.unlink()
        self.close()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@dataclass(frozen=True, slots=True)
class Notes:
    """All notes of one user."""

    directory: Path

    def page(self, broker: str, path: Path, wanted: CreateUploadSession, algorithms: Sequence[Algorithm]) -> Page:
        """The place for this upload: the same broker, file and declaration have the same one.

        Whatever the file's size and modification time, so that one that changed finds the session of what it was.
        """
        metadata = {name: value for name, value in wanted.object_metadata.items() if name != "mtime"}
        whenever = msgspec.structs.replace(wanted, size_bytes=0, object_metadata=metadata)
        declared = msgspec.json.encode(whenever, order="deterministic")
        parts = (broker.encode(), os.fsencode(path.resolve()), spelled(algorithms).encode(), declared)
        name = hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]
        return Page(self.directory / f"{name}.json")

    def prune(self) -> None:
        """Remove what nobody can go on with."""
        now = datetime.now(UTC)
        for path in self.directory.glob("*.json"):
            with suppress(OSError):
                note = _parsed(path.read_bytes())  # unlocked: a living note must not seem to be in somebody's hands
                if note is not None and note.expires_at <= now:
                    page = Page(path)
                    page.read()
                    page.remove()


def state_directory(environment: Mapping[str, str]) -> Path:
    """A relative `$XDG_STATE_HOME` does not count, says the specification.

    :raises RuntimeError: there is no home directory.
    """
    base = Path(environment.get("XDG_STATE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".local" / "state") / "upload-broker"


def _locked(path: Path, flags: int) -> int | None:
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):  # else it was removed before the lock was ours
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _parsed(text: bytes) -> Note | None:
    try:
        return msgspec.json.decode(text, type=Note)
    except (msgspec.DecodeError, UnicodeDecodeError):  # killed in the middle of writing it
        return None
