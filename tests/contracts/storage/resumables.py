"""Who holds the URI of a resumable upload, what he sends by it, and the port beside what sees the object."""

import random
from dataclasses import dataclass
from typing import Final, Protocol

import aiohttp

from broker.domain.objects import ObjectInfo, UploadSpec
from broker.ports import ObjectHead, ResumableUploads
from tests.contracts.storage.wire import Reply, Send, Wire
from tests.memory_resumable import MemoryResumables, PieceRefused

MULTIPLE: Final = 262_144
# Two pieces and a little: the least that has a beginning, a middle and an end.
BODY: Final = random.Random(6).randbytes(2 * MULTIPLE + 7)
OTHER: Final = random.Random(7).randbytes(len(BODY))
SPEC: Final = UploadSpec(
    filename="report.csv", size_bytes=len(BODY), content_type="text/csv", object_metadata={"mtime": "1732100000"}
)


class Holder(Protocol):
    """Nobody but a client of the store, without any right."""

    async def send(self, uri: str, *, first: int = 0, end: int = len(BODY)) -> int:
        """Sends these bytes of `BODY`, of which all are to come. 200 once the object is there, 308 while more is
        wanted; anything else is a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumablePlace:
    uploads: ResumableUploads
    objects: ObjectHead
    holder: Holder

    async def opened(self, key: str, spec: UploadSpec = SPEC, *, capsule: str = "sealed") -> str:
        return await self.uploads.open(key, spec, capsule, origin=None)

    async def stored(self, key: str) -> ObjectInfo:
        info = await self.objects.head(key)
        assert info is not None
        return info


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpHolder:
    """As "Performing resumable uploads" of the Cloud Storage documentation says."""

    http: aiohttp.ClientSession

    async def send(self, uri: str, *, first: int = 0, end: int = len(BODY)) -> int:
        return (await self.piece(uri, BODY[first:end], first=first, total=len(BODY))).status

    async def whole(self, uri: str, body: bytes, **headers: str) -> Reply:
        return await self.piece(uri, body, first=0, total=len(body), **headers)

    async def piece(self, uri: str, piece: bytes, *, first: int, total: int, **headers: str) -> Reply:
        span = f"bytes {first}-{first + len(piece) - 1}/{total}" if piece else f"bytes */{total}"
        return await self.ask(uri, {"content-range": span, **headers}, piece)

    async def ask(self, uri: str, headers: dict[str, str], body: bytes = b"", *, method: str = "PUT") -> Reply:
        length = {} if body else {"content-length": "0"}
        return await Send(self.http)(Wire(method=method, url=uri, headers={**length, **headers}, body=body))


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryHolder:
    resumables: MemoryResumables

    async def send(self, uri: str, *, first: int = 0, end: int = len(BODY)) -> int:  # noqa: ARG002 - it goes on
        try:
            answer = self.resumables.send_by(uri, end)
        except PieceRefused as exc:
            return int(str(exc).split()[0])
        return 308 if isinstance(answer, int) and answer < len(BODY) else 200
