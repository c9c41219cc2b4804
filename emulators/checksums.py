"""The digests that S3 checks, in constant memory, with nothing but the standard library.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html. CRC-32C and CRC-64/NVME
are not in the standard library and newer SDKs send them by default, so they are computed here. A loop over bytes
in Python reaches 10 MiB/s; `_Folding` keeps a block of many lanes and multiplies all of them at once with
`bytes.translate`, which is linear algebra over GF(2) at a speed of C (figures: README). `google_crc32c` is used
where it happens to be installed.
"""

import hashlib
import importlib
import importlib.util
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any, Final, Protocol

DIGEST_BYTES: Final[Mapping[str, int]] = {
    "md5": 16,
    "sha1": 20,
    "sha256": 32,
    "crc32": 4,
    "crc32c": 4,
    "crc64nvme": 8,
}
CHECKSUMS: Final = ("sha256", "sha1", "crc32", "crc32c", "crc64nvme")
BLOCK_BYTES: Final = 16_384


class Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


@dataclass(frozen=True)
class Polynomial:
    """A reflected CRC with register and result inverted: CRC-32, CRC-32C and CRC-64/NVME are all of this kind."""

    width_bytes: int
    reflected: int

    @property
    def ones(self) -> int:
        return (1 << 8 * self.width_bytes) - 1

    @cached_property
    def table(self) -> tuple[int, ...]:
        """The register after one byte, for each byte."""
        return tuple(self._shift(byte) for byte in range(256))

    def _shift(self, value: int) -> int:
        for _ in range(8):
            value = value >> 1 ^ (self.reflected if value & 1 else 0)
        return value

    def run(self, register: int, data: Iterable[int]) -> int:
        table = self.table
        for byte in data:
            register = register >> 8 ^ table[(register ^ byte) & 0xFF]
        return register

    def advance(self, register: int, zero_bytes: int) -> int:
        """The register after that many zero bytes: a linear map, so it is a matrix power."""
        return _apply(self._power(zero_bytes), register)

    def combine(self, first: int, second: int, second_bytes: int) -> int:
        """The CRC of two runs, from the CRC of each."""
        return self.advance(first, second_bytes) ^ second

    @lru_cache(maxsize=64)  # noqa: B019 - three polynomials live as long as the process
    def _power(self, zero_bytes: int) -> tuple[int, ...]:
        bits = range(8 * self.width_bytes)
        result, square = tuple(1 << bit for bit in bits), tuple(self.run(1 << bit, b"\0") for bit in bits)
        while zero_bytes:
            if zero_bytes & 1:
                result = tuple(_apply(square, column) for column in result)
            square = tuple(_apply(square, column) for column in square)
            zero_bytes >>= 1
        return result

    @cached_property
    def lane_tables(self) -> tuple[tuple[bytes, ...], ...]:
        """`[i][j]`: what byte i of a lane adds to byte j of the same lane one block later."""
        return tuple(self._tables_of_byte(place) for place in range(self.width_bytes))

    def _tables_of_byte(self, place: int) -> tuple[bytes, ...]:
        images = [self.advance(byte << 8 * place, BLOCK_BYTES) for byte in range(256)]
        return tuple(bytes(image >> 8 * to & 0xFF for image in images) for to in range(self.width_bytes))


def _apply(columns: tuple[int, ...], vector: int) -> int:
    result = 0
    for column in columns:
        if vector & 1:
            result ^= column
        vector >>= 1
    return result


CRCS: Final[Mapping[str, Polynomial]] = {
    "crc32": Polynomial(4, 0xEDB88320),
    "crc32c": Polynomial(4, 0x82F63B78),
    "crc64nvme": Polynomial(8, 0x9A6C9329AC4BC9B5),
}


class _Folding:
    """Horner's rule over whole blocks: block = block · x^(8·BLOCK_BYTES) + next block, in every lane at once.

    The block is held by columns (all first bytes of the lanes, then all second bytes, …), because a product by a
    constant maps each column through a table of 256 entries and adds up: `translate` and `^` on long strings.
    """

    def __init__(self, polynomial: Polynomial) -> None:
        self._polynomial = polynomial
        self._columns: int | None = None
        self._rest = bytearray()
        self._is_first = True

    def update(self, data: bytes, /) -> None:
        self._rest += data
        if len(self._rest) < BLOCK_BYTES:
            return
        whole = len(self._rest) - len(self._rest) % BLOCK_BYTES
        blocks = bytes(self._rest[:whole])
        del self._rest[:whole]
        for start in range(0, whole, BLOCK_BYTES):
            self._fold(blocks[start : start + BLOCK_BYTES])

    def _fold(self, block: bytes) -> None:
        width = self._polynomial.width_bytes
        incoming = int.from_bytes(b"".join(block[place::width] for place in range(width)), "little")
        self._columns = incoming ^ (self._initial() if self._columns is None else self._shifted(self._columns))

    def _initial(self) -> int:
        """A register of ones is the same as inverting the first lane of the message."""
        width, lane_count = self._polynomial.width_bytes, BLOCK_BYTES // self._polynomial.width_bytes
        return sum(0xFF << 8 * lane_count * place for place in range(width))

    def _shifted(self, columns: int) -> int:
        held = columns.to_bytes(BLOCK_BYTES, "little")
        size = BLOCK_BYTES // self._polynomial.width_bytes
        result = 0
        for place, tables in enumerate(self._polynomial.lane_tables):
            column = held[place * size : (place + 1) * size]
            result ^= int.from_bytes(b"".join(column.translate(table) for table in tables), "little")
        return result

    def digest(self) -> bytes:
        polynomial = self._polynomial
        register = polynomial.ones
        if self._columns is not None:
            register = polynomial.run(0, self._in_order(self._columns))
        return (polynomial.run(register, self._rest) ^ polynomial.ones).to_bytes(polynomial.width_bytes, "big")

    def _in_order(self, columns: int) -> bytes:
        held, width = columns.to_bytes(BLOCK_BYTES, "little"), self._polynomial.width_bytes
        size, block = BLOCK_BYTES // width, bytearray(BLOCK_BYTES)
        for place in range(width):
            block[place::width] = held[place * size : (place + 1) * size]
        return bytes(block)


class _Zlib:
    def __init__(self) -> None:
        self._register = 0

    def update(self, data: bytes, /) -> None:
        self._register = zlib.crc32(data, self._register)

    def digest(self) -> bytes:
        return self._register.to_bytes(4, "big")


@cache
def _google_crc32c() -> Any:
    """The C extension, when somebody installed it; its pure Python version is slower than ours and warns."""
    if importlib.util.find_spec("google_crc32c") is None:
        return None
    try:
        return importlib.import_module("google_crc32c.cext") and importlib.import_module("google_crc32c")
    except ImportError:
        return None


def new(name: str) -> Digest:
    """A running digest of one of `DIGEST_BYTES`."""
    if name == "crc32":
        return _Zlib()
    if name == "crc32c" and (library := _google_crc32c()) is not None:
        digest: Digest = library.Checksum()
        return digest
    if name in CRCS:
        return _Folding(CRCS[name])
    return hashlib.new(name, usedforsecurity=False)


def combine(name: str, parts: Iterable[tuple[bytes, int]]) -> bytes:
    """The CRC of a whole object, from digest and size of each part."""
    polynomial, result = CRCS[name], 0
    for digest, size_bytes in parts:
        result = polynomial.combine(result, int.from_bytes(digest, "big"), size_bytes)
    return result.to_bytes(polynomial.width_bytes, "big")
