"""What Cloud Storage enforces of a signed PUT and of a resumable upload, and how a digest is declared to it.

- A V4 signature covers the headers that it names, and every `x-goog-*` header that comes must be among them ("Canonical
  requests"). `x-goog-content-length-range: N,N` refuses any other length, `x-goog-if-generation-match: 0` any key that
  is taken ("Request headers" of the XML API).
- `x-goog-hash` may name crc32c and md5, and the upload is refused when either differs. Cloud Storage computes no other
  digest: what it cannot prove, the consumer does while reading.
- A resumable upload is opened with size, type, `ifGenerationMatch=0` and the digests. What becomes of bytes beyond the
  declared size, when the condition is evaluated and whether the last request can change the type is not written
  anywhere: HEAD judges it, unless `upload-broker check` proved it on the bucket.
- The digests are compared when it is whole; but whoever holds the URI may bring a digest with the last bytes, too
  ("Resumable uploads", "Integrity checks"), and which of two counts is not written either. HEAD shows both: `at_head`.
"""

from collections.abc import Collection
from typing import Final

from broker.contract import Checksum, Guarantees, Level
from broker.domain.objects import declared

VERIFIED: Final = ("crc32c", "md5")


def put_guarantees(checksum: Checksum) -> Guarantees:
    """Return who keeps each promise about a PUT that declares `checksum`."""
    return Guarantees(
        size=Level.ENFORCED,
        content_type=Level.ENFORCED,
        create_only=Level.ENFORCED,
        checksum=checksum_level(checksum),
    )


def resumable_guarantees(checksum: Checksum, proved: Collection[str]) -> Guarantees:
    """Return who keeps each promise about an upload that was opened with `checksum`.

    :param proved: of size, content_type and create_only, what this bucket was seen to refuse.
    """

    def level(name: str) -> Level:
        return Level.ENFORCED if name in proved else Level.AT_HEAD

    return Guarantees(
        size=level("size"),
        content_type=level("content_type"),
        create_only=level("create_only"),
        checksum=Level.AT_HEAD if checksum_level(checksum) is Level.ENFORCED else checksum_level(checksum),
    )


def checksum_level(checksum: Checksum) -> Level:
    """Return the weakest level of all that was declared: one speaks for all."""
    digests = declared(checksum)
    if not digests:
        return Level.NONE
    return Level.ENFORCED if digests.keys() <= set(VERIFIED) else Level.ON_READ


def hash_header(checksum: Checksum) -> str | None:
    """Return `x-goog-hash` of the digests that Cloud Storage verifies; None where none was declared."""
    digests = declared(checksum)
    return ",".join(f"{name}={digests[name]}" for name in VERIFIED if name in digests) or None
