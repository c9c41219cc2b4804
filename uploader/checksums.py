"""Digests that are declared before a byte is sent. A digest is part of what is signed, so a file is read twice for it:
once here, once for the store. Up to 64 MiB the second time comes from the page cache; beyond, it would be another
50 GiB from the disk before the first byte leaves. So `auto` declares sha256 up to 64 MiB and nothing above it, where
the broker cuts an upload into parts by default: there size and parts are checked, and a digest is for those who ask
for it – the consumer then proves it, because no store checks a sha256 of a whole object that came in parts."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from typing import Literal

from broker.contract import Checksum
from uploader.events import Meter
from uploader.source import Source

Algorithm = Literal["sha256", "md5"]
Choice = Literal["auto", "sha256", "md5", "none"]

AUTO_UP_TO_BYTES = 64 << 20  # the default `multipart.threshold_bytes` of a destination; which one it has is not known

PIECE_BYTES = 1 << 20

FOR_COPIES: tuple[Algorithm, ...] = ("sha256", "md5")
"""What `auto` declares for several destinations, whatever the size: every store has to prove the same one. AWS proves
both, Ceph the md5. Both cost one reading."""


def chosen(choice: Choice, size_bytes: int, *, copies: int = 0) -> tuple[Algorithm, ...]:
    """What is declared of a file of this size that goes to so many destinations at once."""
    if choice == "auto":
        by_size: tuple[Algorithm, ...] = ("sha256",) if size_bytes <= AUTO_UP_TO_BYTES else ()
        return FOR_COPIES if copies else by_size
    return () if choice == "none" else (choice,)


def spelled(algorithms: Sequence[Algorithm]) -> str:
    return "+".join(algorithms) or "none"


def declare(source: Source, algorithms: Sequence[Algorithm], meter: Meter, is_stopped: Callable[[], bool]) -> Checksum:
    """Read everything once and say its digests. Blocks: call it off the loop. hashlib drops the GIL for such pieces.

    :param is_stopped: asked before each piece; the answer is of no use to anybody once it is true.
    :raises FileChanged: the file changed since it was opened.
    """
    if not algorithms:
        return Checksum()
    digests = {name: hashlib.new(name, usedforsecurity=name == "sha256") for name in algorithms}
    for offset in range(0, source.size_bytes, PIECE_BYTES):
        if is_stopped():
            break
        piece = source.read(offset, min(PIECE_BYTES, source.size_bytes - offset))
        for digest in digests.values():
            digest.update(piece)
        meter.done_bytes = min(offset + PIECE_BYTES, source.size_bytes)
    source.check()
    encoded = {name: base64.b64encode(digest.digest()).decode() for name, digest in digests.items()}
    return Checksum(sha256=encoded.get("sha256"), md5=encoded.get("md5"))
