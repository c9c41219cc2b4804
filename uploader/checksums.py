"""Digests that are declared before a byte is sent. A digest is part of what is signed, so a file is read twice for it:
once here, once for the store. Up to 64 MiB the second time comes from the page cache; beyond, it would be another
50 GiB from the disk before the first byte leaves. So `auto` declares sha256 up to 64 MiB and nothing above it, where
the broker cuts an upload into parts by default: there size and parts are checked, and a digest is for those who ask
for it – the consumer then proves it, because no store checks a sha256 of a whole object that came in parts."""

import base64
import hashlib
from collections.abc import Callable
from typing import Literal

from broker.contract import Checksum
from uploader.events import Meter
from uploader.source import Source

Algorithm = Literal["sha256", "md5", "none"]
Choice = Literal["auto", "sha256", "md5", "none"]

AUTO_UP_TO_BYTES = 64 << 20  # the default `multipart.threshold_bytes` of a destination; which one it has is not known

PIECE_BYTES = 1 << 20


def chosen(choice: Choice, size_bytes: int) -> Algorithm:
    """What `auto` means for a file of this size."""
    if choice != "auto":
        return choice
    return "sha256" if size_bytes <= AUTO_UP_TO_BYTES else "none"


def declare(source: Source, algorithm: Algorithm, meter: Meter, is_stopped: Callable[[], bool]) -> Checksum:
    """Read everything and say its digest. Blocks: call it off the loop. hashlib drops the GIL for such pieces.

    :param is_stopped: asked before each piece; the answer is of no use to anybody once it is true.
    :raises FileChanged: the file changed since it was opened.
    """
    if algorithm == "none":
        return Checksum()
    digest = hashlib.new(algorithm, usedforsecurity=algorithm == "sha256")
    for offset in range(0, source.size_bytes, PIECE_BYTES):
        if is_stopped():
            break
        digest.update(source.read(offset, min(PIECE_BYTES, source.size_bytes - offset)))
        meter.done_bytes = min(offset + PIECE_BYTES, source.size_bytes)
    source.check()
    encoded = base64.b64encode(digest.digest()).decode()
    return Checksum(sha256=encoded) if algorithm == "sha256" else Checksum(md5=encoded)
