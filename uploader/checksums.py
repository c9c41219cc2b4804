"""Digests that are declared before a byte is sent. A digest is part of what is signed, so a file is read twice for it:
once here, once for the store. What is small is read into memory first, and both times are one. Of what is larger `auto`
declares nothing: the MD5 of the bytes that leave is compared with the store's (`uploader.proof`), which says as much a
moment later. A digest is for those who want the store to refuse other bytes, or the consumer to prove it: no store
checks a sha256 of a whole object that came in parts."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from typing import Literal

from broker.contract import CHECKSUM_ALGORITHMS, Checksum
from uploader.events import Meter
from uploader.source import SMALL_FILE_BYTES, Source

Algorithm = Literal["sha256", "md5"]
Choice = Literal["auto", "sha256", "md5", "none"]

PIECE_BYTES = 1 << 20

FOR_ANY_STORE: tuple[Algorithm, ...] = ("sha256", "md5")
"""What `auto` declares for several destinations, whatever the size: every store has to prove the same one. AWS proves
both, Ceph the md5. Both cost one reading. Also where a destination demands a digest."""


def chosen(choice: Choice, size_bytes: int, *, copies: int = 0) -> tuple[Algorithm, ...]:
    """What is declared of a file of this size that goes to so many destinations at once."""
    if choice == "auto":
        by_size: tuple[Algorithm, ...] = ("sha256",) if size_bytes <= SMALL_FILE_BYTES else ()
        return FOR_ANY_STORE if copies else by_size
    return () if choice == "none" else (choice,)


def declared(checksum: Checksum) -> list[str]:
    """By name."""
    return [name for name in CHECKSUM_ALGORITHMS if getattr(checksum, name)]


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
