"""HMAC-SHA-256 (RFC 2104) under one key, for many messages: what depends on the key alone is hashed once.

`hmac` hashes both pads of the key anew for each message, and OpenSSL looks its algorithms up again; that is more than
half of what the MAC of a short message costs, and a session takes two.
"""

import hashlib
from typing import Self

_BLOCK_BYTES = 64  # of SHA-256: FIPS 180-4, figure 1
_INNER = bytes(byte ^ 0x36 for byte in range(256))  # RFC 2104 section 2: ipad, opad
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


class Mac:
    """:param key: of any length."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        if len(key) > _BLOCK_BYTES:
            key = hashlib.sha256(key).digest()
        key = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(key.translate(_INNER))
        self._outer = hashlib.sha256(key.translate(_OUTER))

    def digest(self, message: bytes) -> bytes:
        return self._finished(message).digest()

    def hexdigest(self, message: bytes) -> str:
        return self._finished(message).hexdigest()

    def after(self, head: bytes) -> Self:
        """The same for what follows `head`: of messages that all begin with it."""
        other = object.__new__(type(self))
        other._inner, other._outer = self._inner.copy(), self._outer
        other._inner.update(head)
        return other

    def _finished(self, message: bytes) -> "hashlib._Hash":
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer
