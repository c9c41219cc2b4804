"""Where a download lands: a name in a directory that is open, so that nothing done elsewhere to the path leads astray.

The bytes are collected beside it in `NAME.SESSION.part`, which one process at a time has locked (flock(2)); the kernel
opens the lock of one that was killed. The name is given at the end, in one step, and never to a file that came in
between: link(2) refuses what exists, where rename(2) would replace it.
"""

import errno
import fcntl
import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from io import FileIO

from uploader.errors import FileUnusable
from uploader.tree.words import shown

LONGEST_NAME = 255  # ext4, XFS, APFS: bytes, or letters

_PART = re.compile(rb".*\.[0-9a-f]{2}[a-z2-7]{26}\.part", re.DOTALL)  # the broker's session ids
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV})
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Landing:
    """
    :ivar directory: a descriptor; whoever made this closes it.
    :ivar path: what a person calls it.
    """

    directory: int = field(repr=False)
    name: bytes
    path: bytes

    def close(self) -> None:
        os.close(self.directory)

    def seen(self) -> os.stat_result | None:
        """What is there; of a symbolic link the link itself."""
        try:
            return os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self) -> FileIO:
        """To read what is there; a symbolic link is not followed."""
        return FileIO(os.open(self.name, _READ, dir_fd=self.directory), "rb")

    def open_part(self, session_id: str) -> "Part":
        """:raises FileUnusable: another process is at work on it, or it cannot be written."""
        name = part_name(self.name, session_id)
        try:
            for _ in range(_TRIES):
                descriptor = os.open(name, _FLAGS, 0o666, dir_fd=self.directory)
                if _is_ours(descriptor, name, self):
                    return Part(landing=self, name=name, out=FileIO(descriptor, "a+b"))
                os.close(descriptor)
        except OSError as exc:
            raise self.unusable(exc) from exc
        raise FileUnusable(f"{shown(self.path)}: its part is removed again and again")

    def discard_part(self, session_id: str) -> None:
        """Of a file that is there already: a process may have died between giving the name and tidying up."""
        with suppress(OSError):
            os.unlink(part_name(self.name, session_id), dir_fd=self.directory)

    def taken(self) -> FileUnusable:
        return FileUnusable(f"{shown(self.path)}: exists already")

    def unusable(self, exc: OSError) -> FileUnusable:
        return FileUnusable(f"{shown(self.path)}: {exc.strerror}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What has come so far: open, locked, written at its end."""

    landing: Landing
    name: bytes
    out: FileIO = field(repr=False)

    def close(self) -> None:
        self.out.close()

    def protect(self, mode: int) -> None:
        """Nobody reads the beginning of a file that is not to read its end. Its owner does, to go on with it."""
        with suppress(OSError):
            os.fchmod(self.out.fileno(), mode | stat.S_IRUSR | stat.S_IWUSR)

    def restart(self) -> None:
        self.out.seek(0)
        self.out.truncate(0)

    def discard(self) -> None:
        with suppress(OSError):
            os.unlink(self.name, dir_fd=self.landing.directory)

    def publish(self, *, replaces: bool) -> None:
        """
        :raises FileUnusable: there is a file of that name, or the directory cannot be written.
        """
        try:
            if replaces or not self._linked():
                os.replace(
                    self.name,
                    self.landing.name,
                    src_dir_fd=self.landing.directory,
                    dst_dir_fd=self.landing.directory,
                )
        except OSError as exc:
            raise self.landing.unusable(exc) from exc

    def _linked(self) -> bool:
        """False: a name cannot be given that way here."""
        place = self.landing
        try:
            os.link(
                self.name,
                place.name,
                src_dir_fd=place.directory,
                dst_dir_fd=place.directory,
                follow_symlinks=False,
            )
        except FileExistsError as exc:
            raise place.taken() from exc
        except OSError as exc:
            if exc.errno not in _NO_LINKS:
                raise
            if place.seen() is not None:
                raise place.taken() from exc
            return False
        self.discard()
        return True


_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a FIFO does not hold us


_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def part_name(name: bytes, session_id: str) -> bytes:
    tail = f".{session_id}.part".encode()
    return name[: LONGEST_NAME - len(tail)] + tail


def is_part_name(name: bytes) -> bool:
    """It may be the name of somebody's unfinished download: a file that is called so would be continued as one."""
    return _PART.fullmatch(name) is not None


def _is_ours(descriptor: int, name: bytes, place: Landing) -> bool:
    """Locked, and a file of that one name. False: it was removed before the lock was ours, or is not for us to write.

    :raises FileUnusable: somebody else has it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(descriptor)
        raise FileUnusable(f"{shown(place.path)}: another process is downloading it") from exc
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise FileUnusable(f"{shown(place.path)}: what lies at {shown(name)} is no file")
    if found.st_nlink > 1:  # a finished download, of a process that died before it tidied up
        with suppress(OSError):
            os.unlink(name, dir_fd=place.directory)
    return found.st_nlink == 1


def safe_name(filename: str) -> str:
    """The declared name as a name in the working directory: it may come from another client and never leads elsewhere.

    :raises FileUnusable: nothing is left of it.
    """
    name = filename.replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(c for c in name if c.isprintable()).strip()
    while len(os.fsencode(name)) > 200:  # ext4: 255 bytes, and the part's name is longer
        name = name[1:]
    if name.strip(".") == "":
        raise FileUnusable(f"{filename!r} is no file name; say --output")
    return name
