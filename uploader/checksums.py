"""Digests that are declared before a byte is sent. The digest is part of the signature, so a large file is read twice:
once here, once for the store (mostly from the page cache). `none` saves that pass and its proof."""

import base64
import hashlib
from collections.abc import Callable
from typing import Literal

from broker.contract import Checksum
from uploader.events import Meter
from uploader.source import Source

Algorithm = Literal["sha256", "md5", "none"]

PIECE_BYTES = 1 << 20


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
