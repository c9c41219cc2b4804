"""How an object is cut into parts, and whether what lies in the store is exactly that.

Limits after "Amazon S3 multipart upload limits" (S3 User Guide): 1 to 10,000 parts of 5 MiB to 5 GiB, the last one
smaller if need be, 5 TiB in all.
"""

from collections.abc import Sequence

from msgspec import Struct

MIN_PART_BYTES = 5 * 2**20
MAX_PART_BYTES = 5 * 2**30
MAX_PARTS = 10_000
PAGE_OF_PARTS = 100  # ours: signed requests in the answer to a mint; more come page by page
MAX_PARTS_PER_CALL = 1_000  # ours: half a megabyte of JSON

_MIB = 2**20


class Multipart(Struct, frozen=True, kw_only=True, array_like=True):
    """The cut of one object. `upload_id` is the store's; empty while the session only reserves it.

    Part `n`, from 1, begins at `(n - 1) * part_size_bytes`; all parts but the last are of that size.
    """

    part_size_bytes: int
    part_count: int
    upload_id: str = ""

    def size_of(self, number: int, size_bytes: int) -> int:
        """Bytes of part `number` of an object of `size_bytes`."""
        return min(self.part_size_bytes, size_bytes - self.offset_of(number))

    def offset_of(self, number: int) -> int:
        return (number - 1) * self.part_size_bytes


class StoredPart(Struct, frozen=True, kw_only=True):
    """A part as the store lists it. `etag` has no quotes."""

    number: int
    size_bytes: int
    etag: str


def cut(size_bytes: int, preferred_part_bytes: int) -> Multipart:
    """The preferred part size, or the smallest whole number of MiB with which 10,000 parts suffice."""
    fewest, part_size = -(-size_bytes // MAX_PARTS), max(preferred_part_bytes, MIN_PART_BYTES)
    if part_size < fewest:
        part_size = min(-(-fewest // _MIB) * _MIB, MAX_PART_BYTES)
    return Multipart(part_size_bytes=part_size, part_count=max(1, -(-size_bytes // part_size)))


def missing(plan: Multipart, size_bytes: int, stored: Sequence[StoredPart]) -> list[int]:
    """The numbers that are not in the store at their minted size, in order."""
    right = {part.number for part in stored if _fits(plan, size_bytes, part)}
    return [number for number in range(1, plan.part_count + 1) if number not in right]


def is_exact(plan: Multipart, size_bytes: int, stored: Sequence[StoredPart]) -> bool:
    """Exactly parts 1 to N at their minted sizes, nothing else: what the broker completes."""
    return len(stored) == plan.part_count and not missing(plan, size_bytes, stored)


def _fits(plan: Multipart, size_bytes: int, part: StoredPart) -> bool:
    return 1 <= part.number <= plan.part_count and part.size_bytes == plan.size_of(part.number, size_bytes)
