"""Proves declared digests while the bytes go by.

sha256 and md5 are the standard library's. crc32c and crc64nvme need a library with machine code, found when a job first
asks for it; without one the job fails as `checksum-not-provable` before its processor runs – never weakened silently.
"""

import base64
import hashlib
import importlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from broker.contract import Checksum
from consumer.errors import ChecksumMismatch, ChecksumNotProvable


class Digest(Protocol):
    def update(self, piece: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class _Crc:
    """A CRC as a running `extend(piece, so_far)`, spelled big-endian as the stores do."""

    def __init__(self, extend: Callable[[bytes, int], int], size_bytes: int) -> None:
        self._extend = extend
        self._size_bytes = size_bytes
        self._value = 0

    def update(self, piece: bytes, /) -> None:
        self._value = self._extend(piece, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size_bytes, "big")


class Prover:
    """Digests of one pass over the object, compared at its end."""

    def __init__(self, names: Sequence[str], declared: Checksum) -> None:
        """
        :raises ChecksumNotProvable: a name is unknown here, has no library, or nothing was declared under it.
        """
        self._expected = {name: _declared(declared, name) for name in names}
        self._digests = {name: _digest(name) for name in names}

    @property
    def is_empty(self) -> bool:
        return not self._digests

    def update(self, piece: bytes) -> None:
        for digest in self._digests.values():
            digest.update(piece)

    def finish(self) -> None:
        """
        :raises ChecksumMismatch:
        """
        for name, digest in self._digests.items():
            if base64.b64encode(digest.digest()).decode() != self._expected[name]:
                raise ChecksumMismatch(f"the bytes do not have the declared {name}")


def _declared(checksum: Checksum, name: str) -> str:
    value = getattr(checksum, name, None)
    if not isinstance(value, str):
        raise ChecksumNotProvable(f"no {name} was declared that could be proved")
    return value


def _digest(name: str) -> Digest:
    if name == "sha256":
        return hashlib.sha256()
    if name == "md5":
        return hashlib.md5(usedforsecurity=False)
    if name == "crc32c":
        return _Crc(_crc32c(), 4)
    if name == "crc64nvme":
        return _Crc(_library("awscrt.checksums").crc64nvme, 8)
    raise ChecksumNotProvable(f"this worker does not know {name}")


def _crc32c() -> Callable[[bytes, int], int]:
    try:
        extend = importlib.import_module("google_crc32c").extend
    except ImportError:
        found: Callable[[bytes, int], int] = _library("awscrt.checksums").crc32c
        return found
    return lambda piece, value: int(extend(value, piece))


def _library(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        package = module.partition(".")[0]
        raise ChecksumNotProvable(
            f"the declared checksum needs the Python package {package}, which is not installed in this worker"
        ) from exc
