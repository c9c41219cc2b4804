"""The MD5 of bytes while they are sent, and the MD5 that a store says to have received.

Whoever sends reads through a `Witness`, so what is hashed is what leaves, in the thread that sends it: nothing is read
a second time, and `sendfile` has to stand back, for what the kernel copies nobody sees.

What an answer says of the bytes – S3 API reference, "Object" (`ETag`): the MD5 where an object, or a part, is plain or
encrypted with keys of S3's own; no digest of anything under a key of KMS or of the customer. Cloudflare R2, "Multipart
uploads" and Ceph have it the same way. Cloud Storage, "Hashes and ETags": `x-goog-hash` names it, the ETag may be
anything.
"""

import binascii
import hashlib
import re
from base64 import b64decode
from collections.abc import Iterable

from uploader.source import Origin, Source

ENCRYPTION = "x-amz-server-side-encryption"
OF_THE_STORE = "AES256"  # its own keys: the ETag is that of the plain bytes

_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


class Witness:
    """A source whose MD5 is known once it was read from its first byte to its last.

    What is read again is not hashed again. Should it be other bytes by then, the store has another MD5: that is seen.
    """

    fileno: int | None = None  # who reads from the descriptor would bypass the witness
    offset_bytes = 0

    def __init__(self, whole: Source) -> None:
        self._whole = whole
        self._digest = hashlib.md5(usedforsecurity=False)
        self._hashed_bytes = 0

    @property
    def md5(self) -> bytes | None:
        return self._digest.digest() if self._hashed_bytes == self.size_bytes else None

    @property
    def name(self) -> str:
        return self._whole.name

    @property
    def size_bytes(self) -> int:
        return self._whole.size_bytes

    @property
    def origin(self) -> Origin | None:
        return self._whole.origin

    def read(self, offset: int, size_bytes: int) -> memoryview:
        piece = self._whole.read(offset, size_bytes)
        if offset <= self._hashed_bytes < offset + size_bytes:
            self._digest.update(piece[self._hashed_bytes - offset :])
            self._hashed_bytes = offset + size_bytes
        return piece

    def check(self) -> None:
        self._whole.check()

    def close(self) -> None:
        """Nothing: the whole is somebody else's."""


def md5_of(headers: Iterable[tuple[str, str]]) -> bytes | None:
    """The MD5 of what the store has received, if its answer says so.

    :param headers: of an answer to a PUT; a name may come twice.
    """
    etag, hashes, has_digest = "", [], True
    for given, value in headers:
        name = given.lower()
        if name == "etag":
            etag = etag or value
        elif name.startswith("x-goog-"):
            hashes.append(value if name == "x-goog-hash" else "")
        elif name.startswith(ENCRYPTION) and (name, value) != (ENCRYPTION, OF_THE_STORE):
            has_digest = False
    if hashes:
        return _google(hashes)
    return plain_md5(etag) if has_digest else None


def plain_md5(etag: str) -> bytes | None:
    """An ETag that has the shape of an MD5, as bytes."""
    plain = _MD5.fullmatch(etag)
    return bytes.fromhex(plain[1]) if plain else None


def decoded_md5(text: str) -> bytes | None:
    """A digest in base64, as `Content-MD5` and `x-goog-hash` spell it."""
    try:
        digest = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == hashlib.md5(usedforsecurity=False).digest_size else None


def _google(values: Iterable[str]) -> bytes | None:
    hashes = (each.strip() for value in values for each in value.split(","))
    return next((decoded_md5(each.removeprefix("md5=")) for each in hashes if each.startswith("md5=")), None)
