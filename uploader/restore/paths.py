"""Where a file of a tree may land. A path is the word of whoever minted the session, and leads nowhere but down."""

from typing import ClassVar

from uploader.errors import FileUnusable
from uploader.landing import LONGEST_NAME, is_part_name
from uploader.tree.words import shown

MAX_PATH_BYTES = 4_096  # Linux, PATH_MAX


class PathRefused(FileUnusable):
    """A path that does not stay below the directory."""

    code: ClassVar[str] = "path-refused"


def parts_of(path: bytes) -> tuple[bytes, ...]:
    """The names on the way down, the file's own last.

    :raises PathRefused: it is absolute, climbs, or is none that a file of ours has.
    """
    parts = tuple(path.split(b"/"))
    if (why := _objection(path, parts)) is not None:
        raise PathRefused(f"{shown(path[:MAX_PATH_BYTES])}: {why}")
    return parts


def _objection(path: bytes, parts: tuple[bytes, ...]) -> str | None:
    if path.startswith(b"/"):
        return "an absolute path"
    if b".." in parts:
        return "a path that leads upwards"
    if b"" in parts or b"." in parts or b"\0" in path:
        return "no path of a file"
    if len(path) > MAX_PATH_BYTES or max(map(len, parts)) > LONGEST_NAME:
        return "too long for a file system"
    if is_part_name(parts[-1]):
        return "the name of an unfinished download"
    return None
