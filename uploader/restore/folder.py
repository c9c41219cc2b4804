"""The directory below which a tree is restored. Every step down is taken from an open directory, never through a link.

Whoever can write below it while we do cannot lead us out of it: a directory that is replaced by a symbolic link is
refused (openat(2), O_NOFOLLOW), and one that is moved away takes what lands in it along.
"""

import errno
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from uploader.errors import FileUnusable
from uploader.landing import Landing
from uploader.tree.words import shown

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Folder:
    """Used from any thread."""

    path: bytes
    fileno: int = field(repr=False)

    @classmethod
    def open(cls, path: Path) -> Self:
        """It is made if it is not there; that it is a symbolic link itself is its owner's choice.

        :raises FileUnusable: it is no directory, or cannot be made.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            return cls(os.fsencode(path), os.open(path, _DIRECTORY))
        except OSError as exc:
            raise FileUnusable(f"{shown(os.fsencode(path))}: {exc.strerror}") from exc

    def close(self) -> None:
        os.close(self.fileno)

    def landing(self, parts: tuple[bytes, ...]) -> Landing:
        """
        :param parts: as `paths.parts_of` makes them. Directories on the way are made.
        :raises FileUnusable: a symbolic link or a file is in the way, or a directory cannot be made.
        """
        *above, name = parts
        here = os.dup(self.fileno)
        try:
            for depth, part in enumerate(above, 1):
                try:
                    below = _entered(here, part)
                except OSError as exc:
                    raise FileUnusable(f"{self._shown(parts[:depth])}: {_why(exc)}") from exc
                os.close(here)
                here = below
        except BaseException:
            os.close(here)
            raise
        return Landing(here, name, b"/".join((self.path, *parts)))

    def folds(self) -> bool:
        """Whether two names that differ in upper and lower case alone are one here.

        :raises FileUnusable: it cannot be written.
        """
        name = f".uploader-{os.getpid()}-Aa".encode()
        try:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=self.fileno))
            try:
                os.stat(name.swapcase(), dir_fd=self.fileno, follow_symlinks=False)
            except FileNotFoundError:
                return False
            finally:
                os.unlink(name, dir_fd=self.fileno)
        except OSError as exc:
            raise FileUnusable(f"{shown(self.path)}: {exc.strerror}") from exc
        return True

    def _shown(self, parts: tuple[bytes, ...]) -> str:
        return shown(b"/".join((self.path, *parts)))


def _entered(directory: int, name: bytes) -> int:
    flags = _DIRECTORY | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        pass
    with suppress(FileExistsError):  # another download made it
        os.mkdir(name, dir_fd=directory)
    return os.open(name, flags, dir_fd=directory)


def _why(exc: OSError) -> str:
    """A link is ENOTDIR on Linux, because O_DIRECTORY is asked first, and ELOOP elsewhere."""
    is_in_the_way = exc.errno in {errno.ENOTDIR, errno.ELOOP}
    return "a file or a symbolic link is where a directory should be" if is_in_the_way else exc.strerror or "no way"
