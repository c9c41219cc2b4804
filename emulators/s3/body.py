"""Receive a request body: decide from the headers what it must be, then take it in and hold it to that.

The plan is made before `100 Continue`, so that a client which waits for it never sends a body that was doomed.
Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html and
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html.
"""

import base64
import binascii
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from emulators import checksums
from emulators.arriving import Stalled, arriving
from emulators.blobs import Blobs, Spool
from emulators.s3.catalogue import Checksum
from emulators.s3.chunked import STREAMING, UNSIGNED_TRAILER, ChunkSignatures, Decoder
from emulators.s3.counters import Counters
from emulators.s3.errors import S3Error
from emulators.s3.faults import Faults
from emulators.s3.request import S3Request
from emulators.s3.sigv4 import UNSIGNED, Signed

MAX_PUT_BYTES: Final = 5 * 2**30  # PutObject and UploadPart: "up to 5 GB" in one operation
MAX_DOCUMENT_BYTES: Final = 4 * 2**20  # 10,000 parts with checksums in CompleteMultipartUpload fit
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_CHECKSUM_HEADER: Final = "x-amz-checksum-"
_NOT_DIGESTS: Final = frozenset({"x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-mode"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the headers promise about the body."""

    size_bytes: int
    digests: frozenset[str]
    content_md5: bytes | None
    payload_sha256: bytes | None
    checksum: tuple[str, bytes] | None
    trailer: str | None
    decoder: Decoder | None
    has_expect: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A body that kept every promise. `checksum` is the one that the client declared, if any."""

    spool: Spool
    md5: bytes
    checksum: Checksum | None
    digests: Mapping[str, bytes]

    def computed(self, algorithm: str | None) -> Checksum | None:
        """A checksum that the plan asked for though the client declared none."""
        return checksum_of(algorithm, self.digests)


def checksum_of(algorithm: str | None, digests: Mapping[str, bytes]) -> Checksum | None:
    if algorithm is None:
        return None
    return Checksum(algorithm=algorithm, value=base64.b64encode(digests[algorithm]).decode())


def plan(
    request: S3Request,
    signed: Signed | None,
    *,
    max_bytes: int = MAX_PUT_BYTES,
    wants: str | None = None,
    is_document: bool = False,
) -> Plan:
    """Read the headers.

    `wants` is a checksum to compute though the client declared none (a part of an upload); with `is_document` the
    checksum headers are about something else than this body (the object that a completion makes).

    :raises S3Error: everything that can be refused before the body.
    """
    payload = UNSIGNED if signed is None else signed.payload_hash
    decoder = _decoder(payload, signed, has_trailer=request.header("x-amz-trailer") is not None)
    size_bytes = _size(request, is_chunked=decoder is not None)
    if size_bytes > max_bytes:
        raise S3Error("EntityTooLarge", fields={"ProposedSize": str(size_bytes), "MaxSizeAllowed": str(max_bytes)})
    checksum, trailer = None if is_document else _declared_checksum(request), _trailer(request)
    if checksum and trailer:
        raise S3Error("InvalidRequest", "Expecting a single x-amz-checksum- header")
    payload_sha256 = _payload_sha256(payload)
    names = {"md5", checksum and checksum[0], trailer, wants, "sha256" if payload_sha256 else None}
    return Plan(
        size_bytes=size_bytes,
        digests=frozenset(name for name in names if name),
        content_md5=_content_md5(request),
        payload_sha256=payload_sha256,
        checksum=checksum,
        trailer=trailer,
        decoder=decoder,
        has_expect=(request.header("expect") or "").lower() == "100-continue",
    )


def _decoder(payload: str, signed: Signed | None, *, has_trailer: bool) -> Decoder | None:
    if payload not in STREAMING:
        return None
    if payload.endswith("-TRAILER") != has_trailer:
        raise S3Error("InvalidRequest", "x-amz-trailer and x-amz-content-sha256 do not agree about a trailer.")
    signatures = None if payload == UNSIGNED_TRAILER or signed is None else ChunkSignatures(signed)
    return Decoder(signatures, has_trailer=has_trailer)


def _size(request: S3Request, *, is_chunked: bool) -> int:
    if request.header("transfer-encoding") is not None and not is_chunked:
        raise S3Error(
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
            fields={"Header": "Transfer-Encoding"},
        )
    text = request.header("x-amz-decoded-content-length" if is_chunked else "content-length")
    if text is None:
        raise S3Error("MissingContentLength")
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise S3Error("InvalidArgument", "The length is not a number.")
    return int(text)


def _payload_sha256(payload: str) -> bytes | None:
    if payload == UNSIGNED or payload in STREAMING:
        return None
    if not _HEX.fullmatch(payload):
        raise S3Error(
            "InvalidArgument",
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
        )
    return bytes.fromhex(payload)


def _content_md5(request: S3Request) -> bytes | None:
    text = request.header("content-md5")
    if text is None:
        return None
    value = decode_digest("md5", text)
    if value is None:
        raise S3Error("InvalidDigest", fields={"Content-MD5": text})
    return value


def _declared_checksum(request: S3Request) -> tuple[str, bytes] | None:
    found = [name for name in dict(request.headers) if name.startswith(_CHECKSUM_HEADER) and name not in _NOT_DIGESTS]
    if not found:
        return None
    if len(found) > 1:
        raise S3Error(
            "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        )
    algorithm = _algorithm(found[0])
    value = decode_digest(algorithm, request.header(found[0]) or "")
    if value is None:
        raise S3Error("InvalidRequest", f"Value for {found[0]} header is invalid.")
    return algorithm, value


def _trailer(request: S3Request) -> str | None:
    name = request.header("x-amz-trailer")
    return None if name is None else _algorithm(name.lower().strip())


def _algorithm(header: str) -> str:
    algorithm = header.removeprefix(_CHECKSUM_HEADER)
    if algorithm not in checksums.CHECKSUMS:
        raise S3Error("InvalidRequest", f"The algorithm type you specified in {header} is invalid.")
    return algorithm


def decode_digest(algorithm: str, text: str) -> bytes | None:
    """The digest in strict base64 of the right length, or None."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if len(value) == checksums.DIGEST_BYTES[algorithm] else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Takes bodies in, for as long as they keep coming."""

    blobs: Blobs
    faults: Faults
    counters: Counters
    idle_timeout_seconds: float

    async def receive(self, http: web.BaseRequest, plan: Plan) -> Received:
        """Store the body aside and check it; the caller commits the spool or discards it.

        :raises S3Error: when a promise was broken; nothing is left on disk.
        :raises Disconnect: when the client left before the end.
        """
        if plan.has_expect and http.transport is not None:
            http.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        spool = self.blobs.spool(plan.digests)
        try:
            await self._fill(http, plan, spool)
            digests = await spool.finish()
            return Received(spool=spool, md5=digests["md5"], checksum=_judge(plan, digests), digests=digests)
        except BaseException:
            await spool.discard()
            raise

    async def document(self, http: web.BaseRequest, plan: Plan) -> bytes:
        """A small body as bytes; it passes the same checks."""
        received = await self.receive(http, plan)
        try:
            return received.spool.path.read_bytes() if received.spool.size_bytes else b""
        finally:
            await received.spool.discard()

    async def _fill(self, http: web.BaseRequest, plan: Plan, spool: Spool) -> None:
        decoder = plan.decoder
        async for data in self.faults.incoming(self._arriving(http), plan.size_bytes):
            for piece in (data,) if decoder is None else decoder.feed(data):
                await spool.write(piece)
            if spool.size_bytes > plan.size_bytes:
                break
        if spool.size_bytes != plan.size_bytes or not (decoder is None or decoder.is_done):
            raise S3Error(
                "IncompleteBody",
                fields={
                    "NumberBytesExpected": str(plan.size_bytes),
                    "NumberBytesProvided": str(spool.size_bytes),
                },
            )

    async def _arriving(self, http: web.BaseRequest) -> AsyncIterator[bytes]:
        try:
            async for data in arriving(http, self.idle_timeout_seconds):
                self.counters.bytes_in += len(data)
                yield data
        except Stalled as exc:
            raise S3Error("RequestTimeout") from exc


def _judge(plan: Plan, digests: Mapping[str, bytes]) -> Checksum | None:
    if plan.payload_sha256 is not None and digests["sha256"] != plan.payload_sha256:
        raise S3Error(
            "XAmzContentSHA256Mismatch",
            fields={
                "ClientComputedContentSHA256": plan.payload_sha256.hex(),
                "S3ComputedContentSHA256": digests["sha256"].hex(),
            },
        )
    if plan.content_md5 is not None and digests["md5"] != plan.content_md5:
        raise S3Error("BadDigest", fields={"CalculatedDigest": base64.b64encode(digests["md5"]).decode()})
    algorithm, expected = plan.checksum or (plan.trailer, _trailing(plan))
    if algorithm is None:
        return None
    if digests[algorithm] != expected:
        raise S3Error("BadDigest", f"The {algorithm.upper()} you specified did not match the calculated checksum.")
    return checksum_of(algorithm, digests)


def _trailing(plan: Plan) -> bytes | None:
    if plan.trailer is None or plan.decoder is None:
        return None
    value = decode_digest(plan.trailer, plan.decoder.trailers.get(_CHECKSUM_HEADER + plan.trailer, ""))
    if value is None:
        raise S3Error("MalformedTrailerError")
    return value
