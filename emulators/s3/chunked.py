"""The aws-chunked transfer coding: sizes, chunk signatures and trailing checksums inside the body.

Sources, under https://docs.aws.amazon.com/AmazonS3/latest/API/: sigv4-streaming.html (signed chunks) and
sigv4-streaming-trailers.html (trailers, signed or not). Pieces are handed on before their chunk's signature is known,
which keeps memory constant: a body with a bad chunk is discarded as a whole.
"""

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from typing import Final

from emulators.s3.errors import S3Error
from emulators.s3.sigv4 import Signed

UNSIGNED_TRAILER: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAMING: Final = frozenset({UNSIGNED_TRAILER, SIGNED, SIGNED_TRAILER})
MIN_CHUNK_BYTES: Final = 8192  # sigv4-streaming: at least 8 KB, except the last
MAX_LINE_BYTES: Final = 4096
TRAILER_SIGNATURE: Final = "x-amz-trailer-signature"
_EMPTY: Final = hashlib.sha256().hexdigest()
_HEADER: Final = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?")


class ChunkSignatures:
    """The chain of signatures that starts with the one of the request's head."""

    def __init__(self, signed: Signed) -> None:
        self._signed = signed
        self._previous = signed.signature

    def check(self, kind: str, digests: str, given: str) -> None:
        """:raises S3Error: SignatureDoesNotMatch."""
        to_sign = f"{kind}\n{self._signed.amz_date}\n{self._signed.scope}\n{self._previous}\n{digests}"
        expected = hmac.new(self._signed.signing_key, to_sign.encode("latin-1"), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, given):
            raise S3Error("SignatureDoesNotMatch")
        self._previous = expected


class Decoder:
    """Feed it what arrives, take the payload out; `trailers` is complete when `is_done`."""

    def __init__(self, signatures: ChunkSignatures | None, *, has_trailer: bool) -> None:
        self._signatures = signatures
        self._has_trailer = has_trailer
        self._buffer = bytearray()
        self._left = 0
        self._is_in_chunk = False
        self._is_after_last = False
        self._was_short = False
        self._chunk_signature = ""
        self._chunk_hash = hashlib.sha256()
        self._trailers: dict[str, str] = {}
        self.is_done = False

    @property
    def trailers(self) -> Mapping[str, str]:
        return self._trailers

    def feed(self, data: bytes) -> Iterator[bytes]:
        """:raises S3Error: when the framing or a signature is wrong."""
        self._buffer += data
        while self._buffer and not self.is_done:
            if self._is_in_chunk and self._left:
                yield self._take()
            elif (line := self._line()) is None:
                return
            else:
                self._on_line(line)
        if self._buffer and self.is_done:
            raise S3Error("InvalidRequest", "There are bytes after the last chunk.")

    def _take(self) -> bytes:
        piece = bytes(self._buffer[: self._left])
        del self._buffer[: self._left]
        self._left -= len(piece)
        if self._signatures is not None:
            self._chunk_hash.update(piece)
        return piece

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n", 0, MAX_LINE_BYTES)
        if end < 0:
            if len(self._buffer) >= MAX_LINE_BYTES:
                raise S3Error("InvalidRequest", "A chunk header or trailer is too long.")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _on_line(self, line: bytes) -> None:
        if self._is_after_last:
            self._on_trailer(line)
        elif self._is_in_chunk:
            self._on_chunk_end(line)
        else:
            self._on_header(line)

    def _on_header(self, line: bytes) -> None:
        match = _HEADER.fullmatch(line)
        if match is None or (match[2] is None) != (self._signatures is None):
            raise S3Error("InvalidRequest", "A chunk header is malformed.")
        self._left = int(match[1], 16)
        self._chunk_signature = (match[2] or b"").decode()
        self._chunk_hash = hashlib.sha256()
        if self._left and self._was_short:
            raise S3Error("InvalidChunkSizeError")
        self._was_short = self._left < MIN_CHUNK_BYTES
        if self._left:
            self._is_in_chunk = True
        else:
            self._check_chunk()
            self._is_after_last = True

    def _on_chunk_end(self, line: bytes) -> None:
        if line:
            raise S3Error("InvalidRequest", "A chunk is longer than its header says.")
        self._is_in_chunk = False
        self._check_chunk()

    def _check_chunk(self) -> None:
        if self._signatures is not None:
            digests = f"{_EMPTY}\n{self._chunk_hash.hexdigest()}"
            self._signatures.check("AWS4-HMAC-SHA256-PAYLOAD", digests, self._chunk_signature)

    def _on_trailer(self, line: bytes) -> None:
        if not line:
            self._finish()
            return
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not self._has_trailer or name.lower() in self._trailers:
            raise S3Error("MalformedTrailerError")
        self._trailers[name.lower()] = value.strip()

    def _finish(self) -> None:
        signature = self._trailers.pop(TRAILER_SIGNATURE, None)
        if self._signatures is not None and self._has_trailer:
            lines = "".join(f"{name}:{value}\n" for name, value in self._trailers.items())
            digest = hashlib.sha256(lines.encode("latin-1")).hexdigest()
            self._signatures.check("AWS4-HMAC-SHA256-TRAILER", digest, signature or "")
        self.is_done = True
