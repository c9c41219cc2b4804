"""A `multipart/related` body of two parts: a small resource in JSON, then the object's bytes, streamed.

Source: https://cloud.google.com/storage/docs/uploading-objects#json-multipart; RFC 2387, RFC 2046 section 5.1.
"""

from collections.abc import AsyncIterator
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from email.policy import HTTP
from typing import Final

from emulators.gcs.errors import GcsError

MAX_HEAD_BYTES: Final = 65_536
_BLANK: Final = b"\r\n\r\n"


def boundary_of(content_type: str) -> bytes:
    """:raises GcsError: BadRequest."""
    message = EmailMessage(policy=HTTP)
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/related" or not isinstance(boundary, str) or not boundary:
        raise GcsError("BadRequest", "A multipart upload is multipart/related with a boundary.")
    return boundary.encode("latin-1", "replace")


class Related:
    """Read the resource, then iterate the content, which ends before the closing boundary."""

    def __init__(self, body: AsyncIterator[bytes], boundary: bytes) -> None:
        self._body = body
        self._delimiter = b"\r\n--" + boundary
        self._held = b"\r\n"  # so that the first delimiter looks like every other
        self.content_type: str | None = None

    async def resource(self) -> bytes:
        """The first part; afterwards `content_type` is the second one's.

        :raises GcsError: BadRequest.
        """
        if await self._until(self._delimiter):
            raise GcsError("BadRequest", "The body begins with something else than its boundary.")
        await self._until(_BLANK)
        document = await self._until(self._delimiter)
        head = BytesHeaderParser().parsebytes((await self._until(_BLANK)).lstrip(b"\r\n") + _BLANK)
        self.content_type = head.get("content-type")
        return document

    async def content(self) -> AsyncIterator[bytes]:
        """:raises GcsError: BadRequest."""
        while (where := self._held.find(self._delimiter)) < 0:
            certain = len(self._held) - len(self._delimiter)
            if certain > 0:
                piece, self._held = self._held[:certain], self._held[certain:]
                yield piece
            self._held += await self._next()
        if where:
            yield self._held[:where]
        rest = self._held[where + len(self._delimiter) :]
        async for data in self._body:
            rest = (rest + data)[:8]
        if not rest.startswith(b"--"):
            raise GcsError("BadRequest", "A multipart upload has two parts.")

    async def _until(self, mark: bytes) -> bytes:
        while (where := self._held.find(mark)) < 0:
            if len(self._held) > MAX_HEAD_BYTES:
                raise GcsError("BadRequest", "The part before the content is too long.")
            self._held += await self._next()
        found, self._held = self._held[:where], self._held[where + len(mark) :]
        return found

    async def _next(self) -> bytes:
        async for data in self._body:
            return data
        raise GcsError("BadRequest", "The multipart body ends too early.")
