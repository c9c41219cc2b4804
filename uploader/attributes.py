"""What travels with a file besides its bytes, there and back.

On the object itself, signed into its PUT: `mtime`, seconds since 1970 with up to nine decimals, as rclone and s3fs
write it, and `mode`, the permission bits in four octal digits. With the session of a file of a tree: `path` below the
parent of the root that was named, or `path_base64` of its bytes where a path is no plain text. Whoever reads them back
trusts nothing: they are text from a stranger.
"""

import base64
import binascii
import os
import re
from collections.abc import Mapping
from contextlib import suppress

from msgspec import Struct

OBJECT_NAMES = frozenset({"mtime", "mode"})
SESSION_NAMES = frozenset({"path", "path_base64"})

_SECOND = 1_000_000_000
_PERMISSIONS = 0o777  # never setuid, setgid or sticky: what comes from elsewhere must not run as somebody else
_PREFIXES = ("x-amz-meta-", "x-goog-meta-")  # S3 and GCS, "User-defined object metadata", "Custom metadata"
_MTIME = re.compile(r"(-?)([0-9]{1,20})(?:\.([0-9]{1,9})[0-9]*)?", re.ASCII)
# Four digits as we write them; rclone has the type of a regular file (10) before them.
_MODE = re.compile(r"(?:0?10)?([0-7]{4})", re.ASCII)
# Refused by `broker.contract.Plain`, and what is no UTF-8 (PEP 383) or a surrogate that would be none.
_NOT_PLAIN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Attributes(Struct, frozen=True, kw_only=True, gc=False):
    """What an object says of the file that it was. None: nothing, or nothing that is understood."""

    mtime_ns: int | None = None
    mode: int | None = None

    def apply(self, fileno: int) -> None:
        """Give them to an open file, as far as this file system knows of such: a year 20,000 is none of ext4's."""
        if self.mode is not None:
            with suppress(OSError):
                os.fchmod(fileno, self.mode)
        if self.mtime_ns is not None:
            with suppress(OSError, OverflowError):
                os.utime(fileno, ns=(self.mtime_ns, self.mtime_ns))


UNKNOWN = Attributes()


def declared(mtime_ns: int, mode: int) -> dict[str, str]:
    """The object metadata of a file.

    >>> declared(1_732_100_000_500_000_000, 0o100644)
    {'mtime': '1732100000.5', 'mode': '0644'}
    """
    seconds, rest = divmod(abs(mtime_ns), _SECOND)
    sign = "-" if mtime_ns < 0 else ""
    decimals = f".{rest:09d}".rstrip("0") if rest else ""
    return {"mtime": f"{sign}{seconds}{decimals}", "mode": f"{mode & _PERMISSIONS:04o}"}


def restored(headers: Mapping[str, str]) -> Attributes:
    """What the headers of a store's answer tell."""
    found = {}
    for name, value in headers.items():
        folded = name.lower()
        for prefix in _PREFIXES:
            if folded.startswith(prefix):
                found[folded.removeprefix(prefix)] = value.strip()
    return Attributes(mtime_ns=_mtime_ns(found.get("mtime", "")), mode=_mode(found.get("mode", "")))


def located(root: bytes, path: bytes) -> dict[str, str]:
    """The session metadata of a file at `path` below `root`; an empty path if the root is the file.

    >>> located(b"/home/me/photos", b"a/b.jpg")
    {'path': 'photos/a/b.jpg'}

    One of more than 4,092 bytes, in base64 of 3,063, is too long for the broker, which refuses that file.
    """
    whole = path_below(root, path)
    try:
        text = whole.decode()
    except UnicodeDecodeError:
        text = None
    if text is None or _NOT_PLAIN.search(text):
        return {"path_base64": base64.b64encode(whole).decode()}
    return {"path": text}


def path_below(root: bytes, path: bytes) -> bytes:
    """The path of a file below the parent of its root."""
    name = root.rstrip(b"/").rpartition(b"/")[2]
    return name + b"/" + path if name and path else name or path


def location(metadata: Mapping[str, str]) -> bytes | None:
    """Where the file was. Bytes of a stranger: they may say anything. None: it does not say."""
    if (encoded := metadata.get("path_base64")) is not None:
        with suppress(binascii.Error, ValueError):
            return base64.b64decode(encoded, validate=True) or None
        return None
    try:
        return metadata.get("path", "").encode() or None
    except UnicodeEncodeError:
        return None


def presentable(name: bytes) -> str:
    r"""A name as one may declare it, to be shown to people: what is not plain text becomes `_`.

    >>> presentable(b"caf\xe9\n.txt")
    'caf__.txt'
    """
    return _NOT_PLAIN.sub("_", name.decode(errors="surrogateescape"))[:1024] or "_"  # 1024: contract.Filename


def check_own(metadata: Mapping[str, str], object_metadata: Mapping[str, str]) -> None:
    """
    :raises ValueError: a user's own metadata of a name that is ours.
    """
    for kind, given, ours in (
        ("metadata", metadata, SESSION_NAMES),
        ("object metadata", object_metadata, OBJECT_NAMES),
    ):
        if taken := sorted(ours & given.keys()):
            raise ValueError(f"{kind} {', '.join(taken)}: the uploader declares it itself, for every file of a tree")


def _mtime_ns(text: str) -> int | None:
    match = _MTIME.fullmatch(text)
    if match is None:
        return None
    whole = int(match[2]) * _SECOND + int((match[3] or "").ljust(9, "0"))
    return -whole if match[1] else whole


def _mode(text: str) -> int | None:
    match = _MODE.fullmatch(text)
    return int(match[1], 8) & _PERMISSIONS if match else None
