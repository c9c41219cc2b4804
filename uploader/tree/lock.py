"""One process at a time works on a manifest.

The lock is flock(2) on a file beside it, never on the manifest itself: closing any descriptor of that would drop the
locks that SQLite holds on it (sqlite.org/howtocorrupt.html, 2.2). The kernel opens the lock of a process that is gone.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uploader.tree.errors import ManifestBusy, ManifestUnusable


@contextmanager
def locked(manifest: Path) -> Iterator[None]:
    """
    :raises ManifestBusy: somebody else has it.
    :raises ManifestUnusable: nothing can be written there.
    """
    path = manifest.with_name(f"{manifest.name}.lock")
    try:
        fileno = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise ManifestUnusable(f"{path}: {exc.strerror}") from exc
    try:
        try:
            fcntl.flock(fileno, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            owner = os.pread(fileno, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise ManifestBusy(f"{manifest}: another uploader is at work on it (process {owner})") from exc
        os.ftruncate(fileno, 0)
        os.pwrite(fileno, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fileno)
