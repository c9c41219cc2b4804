"""The digests of a kibibyte, as a client declares them; the CRCs bit by bit, since speed does not matter.

Parameters after the catalogue of parametrised CRC algorithms: reflected polynomial, all ones before and after.
"""

import base64
import hashlib


def digest(algorithm: str, body: bytes) -> str:
    """In base64."""
    raw = {
        "sha256": lambda: hashlib.sha256(body).digest(),
        "md5": lambda: hashlib.md5(body, usedforsecurity=False).digest(),
        "crc32c": lambda: crc32c(body),
        "crc64nvme": lambda: crc64nvme(body),
    }[algorithm]()
    return base64.b64encode(raw).decode()


def crc32c(data: bytes) -> bytes:
    return _crc(data, polynomial=0x82F63B78, size_bytes=4)


def crc64nvme(data: bytes) -> bytes:
    return _crc(data, polynomial=0x9A6C9329AC4BC9B5, size_bytes=8)


def _crc(data: bytes, *, polynomial: int, size_bytes: int) -> bytes:
    ones = (1 << 8 * size_bytes) - 1
    rest = ones
    for byte in data:
        rest ^= byte
        for _ in range(8):
            rest = rest >> 1 ^ (polynomial if rest & 1 else 0)
    return (rest ^ ones).to_bytes(size_bytes, "big")
