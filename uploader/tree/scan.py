"""A walk over a tree: one entry after the other, in the order of the directories on the disk.

In memory there is one directory's reading and, for each level above it, the names of the subdirectories that have not
been read yet, so a million files cost no more than a thousand. Nothing that is found ends the walk: what cannot be
sent is passed over with its reason. A directory is opened as a directory and not through a symbolic link, so one that
is replaced by a link in the meantime leads nowhere; with `follows_symlinks` a directory that is its own ancestor is
passed over, and one that two links lead to is walked twice.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct

from uploader.errors import FileUnusable
from uploader.tree.filters import ALL, Filters

LATEST_NS = (1 << 63) - 1  # sqlite.org/datatype3.html: an integer has 64 bits; the year 2262

Reason = Literal["symlink", "dangling-symlink", "symlink-loop", "special", "unreadable", "vanished"]


class Found(Struct, frozen=True, kw_only=True, gc=False):
    """A regular file. `path` is below the root; empty if the root is the file."""

    path: bytes
    size_bytes: int
    mtime_ns: int
    mode: int
    """permission bits"""


class PassedOver(Struct, frozen=True, kw_only=True, gc=False):
    """An entry that is not sent.

    :ivar is_directory: nothing is known of what is below it.
    """

    path: bytes
    code: Reason
    message: str
    is_directory: bool = False


Entry = Found | PassedOver

_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


@dataclass(slots=True)
class _Level:
    """A directory whose subdirectories are still to be walked.

    :ivar prefix: its path with a slash behind it.
    :ivar names: of subdirectories, packed between slashes: a million of them are a few MB.
    :ivar identity: device and inode, where links are followed.
    """

    prefix: str
    names: bytearray = field(default_factory=bytearray)
    identity: tuple[int, int] | None = None

    def push(self, name: str) -> None:
        self.names += b"/" + os.fsencode(name)

    def pop(self) -> str | None:
        if not self.names:
            return None
        slash = self.names.rindex(b"/")
        name = os.fsdecode(bytes(self.names[slash + 1 :]))
        del self.names[slash:]
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """
    :ivar root: absolute; a directory, or one file. A symbolic link that was named as a root is followed.
    """

    root: bytes
    filters: Filters = ALL
    follows_symlinks: bool = False

    def __iter__(self) -> Iterator[Entry]:
        """:raises FileUnusable: the root itself is not there, cannot be read, or is neither file nor directory."""
        try:
            seen = os.stat(self.root)  # noqa: PTH116 - bytes
            if not stat.S_ISDIR(seen.st_mode):
                return iter((_whole(self.root, seen),))
            os.close(_open_directory(self.root, os.O_RDONLY))
        except OSError as exc:
            raise FileUnusable(f"{os.fsdecode(self.root)}: {exc.strerror}") from exc
        return self._tree()

    def _tree(self) -> Iterator[Entry]:
        levels = [_Level("")]
        yield from self._read(levels)
        while levels:
            name = levels[-1].pop()
            if name is None:
                levels.pop()
            else:
                levels.append(_Level(f"{levels[-1].prefix}{name}/"))
                yield from self._read(levels)

    def _read(self, levels: list[_Level]) -> Iterator[Entry]:
        """The files of the last level; its subdirectories are noted there."""
        level = levels[-1]
        try:
            fileno = _open_directory(self._absolute(level), self._flags(level))
        except OSError as exc:
            yield _directory_failed(level, exc)
            return
        try:
            if self.follows_symlinks:
                seen = os.fstat(fileno)
                level.identity = (seen.st_dev, seen.st_ino)
                if any(above.identity == level.identity for above in levels[:-1]):
                    yield _passed(level.prefix[:-1], "symlink-loop", "a directory that holds itself")
                    return
            with os.scandir(fileno) as listing:
                for each in listing:
                    if (entry := self._entry(level, each)) is not None:
                        yield entry
        except OSError as exc:  # of scandir itself: the disk fails, or the directory was removed
            yield _directory_failed(level, exc)
        finally:
            os.close(fileno)

    def _absolute(self, level: _Level) -> bytes:
        """Without a slash at the end, which would lead through a link."""
        return self.root + b"/" + os.fsencode(level.prefix[:-1]) if level.prefix else self.root

    def _flags(self, level: _Level) -> int:
        return os.O_RDONLY | (0 if self.follows_symlinks or not level.prefix else os.O_NOFOLLOW)

    def _entry(self, level: _Level, entry: os.DirEntry[str]) -> Entry | None:
        path = level.prefix + entry.name
        try:
            if entry.is_dir(follow_symlinks=False):
                if self.filters.enters(path):
                    level.push(entry.name)
                return None
            if entry.is_symlink():
                return self._link(level, entry, path)
            return self._file(path, entry.stat(follow_symlinks=False))
        except OSError as exc:
            return _failed(path, exc)

    def _link(self, level: _Level, entry: os.DirEntry[str], path: str) -> Entry | None:
        if not self.follows_symlinks:
            is_meant = self.filters.takes(path) and self.filters.enters(path)
            return _passed(path, "symlink", "a symbolic link, and links are not followed") if is_meant else None
        try:
            target = entry.stat()
        except FileNotFoundError:
            return _passed(path, "dangling-symlink", "a symbolic link to nothing") if self.filters.takes(path) else None
        if stat.S_ISDIR(target.st_mode):
            if self.filters.enters(path):
                level.push(entry.name)
            return None
        return self._file(path, target)

    def _file(self, path: str, seen: os.stat_result) -> Entry | None:
        if not self.filters.takes(path):
            return None
        if not stat.S_ISREG(seen.st_mode):
            return _passed(path, "special", _SPECIAL.get(stat.S_IFMT(seen.st_mode), "neither file nor directory"))
        return Found(
            path=os.fsencode(path),
            size_bytes=seen.st_size,
            mtime_ns=mtime_of(seen),
            mode=seen.st_mode & 0o7777,
        )


def mtime_of(seen: os.stat_result) -> int:
    """When a file was modified, in nanoseconds since 1970, as a manifest can have it. A disk may say anything."""
    return max(-LATEST_NS, min(seen.st_mtime_ns, LATEST_NS))


def _whole(root: bytes, seen: os.stat_result) -> Found:
    if not stat.S_ISREG(seen.st_mode):
        kind = _SPECIAL.get(stat.S_IFMT(seen.st_mode), "neither file nor directory")
        raise FileUnusable(f"{os.fsdecode(root)}: {kind}")
    return Found(path=b"", size_bytes=seen.st_size, mtime_ns=mtime_of(seen), mode=seen.st_mode & 0o7777)


def _open_directory(path: bytes, flags: int) -> int:
    return os.open(path, flags | os.O_DIRECTORY | os.O_CLOEXEC)


def _passed(path: str, code: Reason, message: str) -> PassedOver:
    return PassedOver(path=os.fsencode(path), code=code, message=message)


def _failed(path: str, exc: OSError) -> PassedOver:
    if isinstance(exc, FileNotFoundError):
        return _passed(path, "vanished", "it was gone a moment after it was listed")
    return _passed(path, "unreadable", exc.strerror or "unreadable")


def _directory_failed(level: _Level, exc: OSError) -> PassedOver:
    failed = _failed(level.prefix[:-1], exc)
    is_unknown = failed.code != "vanished"
    return PassedOver(path=failed.path, code=failed.code, message=failed.message, is_directory=is_unknown)
