"""Multipart uploads in a dict: the rights of a `MultipartRights`, a client that sends parts, and places to meddle."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from broker.contract import Guarantees, Level, SignedRequest
from broker.domain.errors import BrokerError, StoreUnavailable
from broker.domain.multipart import StoredPart
from broker.domain.objects import CAPSULE_FIELD, UploadSpec

if TYPE_CHECKING:
    from tests.memory_bucket import MemoryBucket


class PartRefused(Exception):
    """What a real store would have answered to a client."""


@dataclass(slots=True, kw_only=True)
class _Unfinished:
    key: str
    spec: UploadSpec
    capsule: str
    opened_at: datetime
    listed_as: str | None = None  # another spelling of its key
    parts: dict[int, StoredPart] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grant:
    upload_id: str
    number: int
    size_bytes: int
    expires_at: datetime


async def _nothing() -> None:
    return


@dataclass(slots=True, kw_only=True)
class MemoryUploads:
    """Implements PartSigner, MultipartUploads and MultipartRemover.

    :param guarantees: what its parts bind, if not the same as a single PUT.
    :param aborts_needed: how often an upload must be aborted until no part in flight lands in it any more.
    :param errors_in_200: how many completions answer 200 with an error in the body, nothing done.
    :param before_list, before_complete, after_complete: awaited there.
    """

    bucket: "MemoryBucket"
    guarantees: Guarantees | None = None
    aborts_needed: int = 1
    errors_in_200: int = 0
    before_open: Callable[[], Awaitable[None]] = _nothing
    before_list: Callable[[], Awaitable[None]] = _nothing
    before_complete: Callable[[], Awaitable[None]] = _nothing
    after_complete: Callable[[], Awaitable[None]] = _nothing
    unfinished: dict[str, _Unfinished] = field(default_factory=dict)
    completed: list[str] = field(default_factory=list)
    opened: int = 0
    signed: int = 0
    _aborts: dict[str, int] = field(default_factory=dict)
    _grants: dict[str, _Grant] = field(default_factory=dict)
    _sent: int = 0

    # --- the rights

    def binds(self, spec: UploadSpec) -> Guarantees:
        return self.guarantees or self.bucket.binds(spec)

    async def sign_part(
        self, key: str, upload_id: str, number: int, size_bytes: int, *, now: datetime, ends: datetime
    ) -> SignedRequest:
        if self.bucket.sign_trouble:
            raise self.bucket.sign_trouble
        assert now <= ends
        assert upload_id
        self.signed += 1
        url = f"https://bucket.test/{key}?partNumber={number}&uploadId={upload_id}&grant={self.signed}"
        self._grants[url] = _Grant(upload_id=upload_id, number=number, size_bytes=size_bytes, expires_at=ends)
        return SignedRequest(method="PUT", url=url, headers={}, expires_at=ends)

    async def open(self, key: str, spec: UploadSpec, capsule: str) -> str:
        await self.before_open()
        self._check_trouble()
        self.opened += 1
        upload_id = f"upload-{self.opened}"
        self.unfinished[upload_id] = _Unfinished(key=key, spec=spec, capsule=capsule, opened_at=self.bucket.clock.now())
        return upload_id

    async def parts(self, key: str, upload_id: str) -> list[StoredPart] | None:
        await self.before_list()
        self._check_trouble()
        found = self._find(key, upload_id)
        return None if found is None else [part for _, part in sorted(found.parts.items())]

    async def complete(self, key: str, upload_id: str, parts: Sequence[StoredPart]) -> bool:
        await self.before_complete()
        self._check_trouble()
        if self.errors_in_200:
            self.errors_in_200 -= 1
            raise StoreUnavailable("200 with an error in its body")
        found = self._find(key, upload_id)
        if found is None or (key in self.bucket.stored and self._is_bound("create_only")):
            return False
        if any(found.parts.get(part.number) != part for part in parts):
            raise StoreUnavailable("400 InvalidPart")
        self._make(found, parts)
        del self.unfinished[upload_id]
        self.completed.append(upload_id)
        await self.after_complete()
        return True

    async def open_uploads(self, key: str) -> list[str]:
        self._check_trouble()
        return [upload_id for upload_id, found in self.unfinished.items() if found.key == key]

    async def abort(self, key: str, upload_id: str) -> bool:
        self._check_trouble()
        if self._find(key, upload_id) is None:
            return True
        self._aborts[upload_id] = self._aborts.get(upload_id, 0) + 1
        if self._aborts[upload_id] < self.aborts_needed:
            return False
        del self.unfinished[upload_id]
        return True

    # --- the world outside

    def send(self, request: SignedRequest, size_bytes: int | None = None) -> StoredPart:
        """A client sends one part; again is fine, the last one counts.

        :raises PartRefused:
        """
        grant = self._grants[request.url]
        found = self.unfinished.get(grant.upload_id)
        if self.bucket.clock.now() >= grant.expires_at:
            raise PartRefused("403 Request has expired")
        if found is None:
            raise PartRefused("404 NoSuchUpload")
        size = grant.size_bytes if size_bytes is None else size_bytes
        if size != grant.size_bytes and self._is_bound("size"):
            raise PartRefused("403 SignatureDoesNotMatch")
        return self.put(grant.upload_id, grant.number, size)

    def put(self, upload_id: str, number: int, size_bytes: int) -> StoredPart:
        """Somebody with rights of his own writes a part, whatever was signed."""
        self._sent += 1
        etag = hashlib.md5(f"{upload_id} {self._sent}".encode(), usedforsecurity=False).hexdigest()
        part = StoredPart(number=number, size_bytes=size_bytes, etag=etag)
        self.unfinished[upload_id].parts[number] = part
        return part

    def forget(self, key: str) -> None:
        """A lifecycle rule takes whatever is unfinished under `key`."""
        self.unfinished = {name: found for name, found in self.unfinished.items() if found.key != key}

    # --- within

    def _make(self, found: _Unfinished, parts: Sequence[StoredPart]) -> None:
        self.bucket.store(
            found.key,
            size_bytes=sum(part.size_bytes for part in parts),
            content_type=found.spec.content_type,
            checksum=found.spec.checksum,
            metadata={**found.spec.object_metadata, CAPSULE_FIELD: found.capsule},
        )

    def _find(self, key: str, upload_id: str) -> _Unfinished | None:
        found = self.unfinished.get(upload_id)
        return found if found and found.key == key else None

    def _is_bound(self, name: str) -> bool:
        return getattr(self.bucket.guarantees, name) is Level.ENFORCED

    def _check_trouble(self) -> None:
        trouble: BrokerError | None = self.bucket.trouble
        if trouble:
            raise trouble
