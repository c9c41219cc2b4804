"""Take a request body in: to disk, hashed as it passes, never longer than it may be."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from emulators.arriving import Stalled, arriving
from emulators.blobs import Blobs, Spool
from emulators.gcs.conditions import number
from emulators.gcs.counters import Counters
from emulators.gcs.errors import GcsError
from emulators.gcs.faults import Faults
from emulators.gcs.request import GcsRequest

MAX_OBJECT_BYTES: Final = 5 * 2**40  # https://cloud.google.com/storage/quotas#objects: 5 TiB
MAX_DOCUMENT_BYTES: Final = 2**20
DIGESTS: Final = ("crc32c", "md5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A whole body; the caller adopts the spool or discards it."""

    spool: Spool
    digests: Mapping[str, bytes]


def size_of(request: GcsRequest) -> int | None:
    """The length that the headers promise; None for a chunked body.

    :raises GcsError: MissingContentLength, InvalidArgument.
    """
    if request.header("transfer-encoding") is not None:
        return None
    text = request.header("content-length")
    if text is None:
        raise GcsError("MissingContentLength")
    return number(text, "Content-Length")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Takes bodies in, for as long as they keep coming."""

    blobs: Blobs
    faults: Faults
    counters: Counters
    idle_timeout_seconds: float

    async def arriving(self, http: web.BaseRequest, request: GcsRequest, name: str) -> AsyncIterator[bytes]:
        """The body, for the object `name`, as the network of today delivers it.

        :raises GcsError: RequestTimeout.
        :raises Disconnect: when the client left before the end.
        """
        expect_body(http, request)
        async for data in self.faults.incoming(self._counted(http, request, name), size_of(request) or 0):
            yield data

    async def _counted(self, http: web.BaseRequest, request: GcsRequest, name: str) -> AsyncIterator[bytes]:
        try:
            async for data in arriving(http, self.idle_timeout_seconds):
                self.counters.arrived(request.target.bucket, name, len(data))
                yield data
        except Stalled as exc:
            raise GcsError("RequestTimeout") from exc

    async def receive(
        self, body: AsyncIterator[bytes], *, min_bytes: int = 0, max_bytes: int = MAX_OBJECT_BYTES
    ) -> Received:
        """Store a body aside.

        :raises GcsError: EntityTooSmall, EntityTooLarge; nothing is left on disk.
        """
        spool = self.blobs.spool(DIGESTS)
        try:
            async for data in body:
                await spool.write(data)
                if spool.size_bytes > max_bytes:
                    raise GcsError("EntityTooLarge")
            if spool.size_bytes < min_bytes:
                raise GcsError("EntityTooSmall")
            return Received(spool=spool, digests=await spool.finish())
        except BaseException:
            await spool.discard()
            raise

    async def document(self, http: web.BaseRequest, request: GcsRequest) -> bytes:
        """A small body as bytes.

        :raises GcsError: BadRequest, RequestTimeout.
        """
        expect_body(http, request)
        body = b""
        try:
            async for data in arriving(http, self.idle_timeout_seconds):
                body += data
                if len(body) > MAX_DOCUMENT_BYTES:
                    raise GcsError("BadRequest", "The body is too long.")
        except Stalled as exc:
            raise GcsError("RequestTimeout") from exc
        return body


def expect_body(http: web.BaseRequest, request: GcsRequest) -> None:
    """Nothing speaks against the headers: let a client that asked first send the body."""
    if (request.header("expect") or "").lower() == "100-continue" and http.transport is not None:
        http.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
