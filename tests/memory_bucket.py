"""A store in a dict: every right of a `Bucket`, and a client that sends what was signed."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace

from broker.contract import Checksum, Guarantees, Level, SignedRequest
from broker.domain.errors import BrokerError
from broker.domain.objects import CAPSULE_FIELD, ObjectInfo, Pin, UploadSpec, pin_of
from broker.domain.policy import Destination
from broker.ports import Bucket, Clock, MultipartRights
from tests.memory_lister import MemoryLister, MemoryMark
from tests.memory_resumable import MemoryResumables
from tests.memory_uploads import MemoryUploads

ENFORCED = Guarantees(
    size=Level.ENFORCED, content_type=Level.ENFORCED, create_only=Level.ENFORCED, checksum=Level.ENFORCED
)
JUDGED = Guarantees(size=Level.AT_HEAD, content_type=Level.AT_HEAD, create_only=Level.AT_HEAD, checksum=Level.ON_READ)


class PutRefused(Exception):
    """What a real store would have answered to a client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grant:
    key: str
    spec: UploadSpec
    capsule: str
    expires_at: datetime


async def _nothing() -> None:
    return


@dataclass(slots=True, kw_only=True)
class MemoryBucket:
    """Implements PutSigner, GetSigner, ObjectHead and ObjectRemover; `uploads` what it takes to receive parts.

    :param is_resumable: whether it holds uploads open instead of taking parts: `resumables`.
    :param sign_trouble: raised by every signature; `signs_afar`: each is a call.
    :param trouble: raised by every call to the store while it is set.
    :param before_sign: awaited before a PUT is signed, `before_head` before HEAD looks, `after_head` before it answers,
        `before_remove` before a removal: places for a test to meddle.
    :param stored: the latest state of each key; `older` what came before, where versions are kept.
    """

    clock: Clock
    guarantees: Guarantees = ENFORCED
    keeps_versions: bool = False
    is_resumable: bool = False
    signs_afar: bool = False
    trouble: BrokerError | None = None
    sign_trouble: BrokerError | None = None
    before_sign: Callable[[], Awaitable[None]] = _nothing
    before_head: Callable[[], Awaitable[None]] = _nothing
    after_head: Callable[[], Awaitable[None]] = _nothing
    before_remove: Callable[[], Awaitable[None]] = _nothing
    stored: dict[str, ObjectInfo] = field(default_factory=dict)
    older: dict[str, list[ObjectInfo]] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    signed: int = 0
    uploads: MemoryUploads = field(init=False)
    resumables: MemoryResumables = field(init=False)
    lister: MemoryLister = field(init=False)
    mark: MemoryMark = field(init=False)
    _grants: dict[str, _Grant] = field(default_factory=dict)
    _writes: int = 0

    def __post_init__(self) -> None:
        self.uploads = MemoryUploads(bucket=self)
        self.resumables = MemoryResumables(bucket=self)
        self.lister = MemoryLister(bucket=self)
        self.mark = MemoryMark(bucket=self)

    def as_bucket(self, destination: Destination) -> Bucket:
        rights = MultipartRights(signer=self.uploads, uploads=self.uploads, remover=self.uploads)
        return Bucket(
            destination=destination,
            put=self,
            get=self,
            objects=self,
            remover=self,
            multipart=None if self.is_resumable else rights,
            lister=self.lister,
            mark=self.mark,
            resumable=self.resumables if self.is_resumable else None,
            signs_afar=self.signs_afar,
        )

    # --- the rights

    def binds(self, spec: UploadSpec) -> Guarantees:  # noqa: ARG002 - the same for every object here
        return self.guarantees

    async def sign_put(
        self, key: str, spec: UploadSpec, capsule: str, *, now: datetime, ends: datetime
    ) -> SignedRequest:
        await self.before_sign()
        if self.sign_trouble:
            raise self.sign_trouble
        assert now <= ends
        self.signed += 1
        url = f"https://bucket.test/{key}?grant={self.signed}"
        self._grants[url] = _Grant(key=key, spec=spec, capsule=capsule, expires_at=ends)
        headers = {"content-type": spec.content_type, f"x-amz-meta-{CAPSULE_FIELD}": capsule}
        return SignedRequest(method="PUT", url=url, headers=headers, expires_at=ends)

    async def sign_get(
        self, key: str, pin: Pin | None, *, filename: str, now: datetime, ends: datetime
    ) -> SignedRequest:
        if self.sign_trouble:
            raise self.sign_trouble
        assert filename
        assert now <= ends
        version = f"?versionId={pin.version}" if pin and pin.version else ""
        headers = {"if-match": f'"{pin.etag}"'} if pin and not pin.version else {}
        return SignedRequest(method="GET", url=f"https://bucket.test/{key}{version}", headers=headers, expires_at=ends)

    async def head(self, key: str) -> ObjectInfo | None:
        await self.before_head()
        self.heads.append(key)
        if self.trouble:
            raise self.trouble
        found = self.stored.get(key)
        await self.after_head()
        return found

    async def head_version(self, key: str, version: str) -> ObjectInfo | None:
        if self.trouble:
            raise self.trouble
        return next((info for info in self.states(key) if info.version == version), None)

    async def remove(self, key: str, pin: Pin) -> bool:
        await self.before_remove()
        if self.trouble:
            raise self.trouble
        found = [info for info in self.states(key) if pin_of(info) == pin]
        if not found or (pin.version is None and found[0] is not self.stored.get(key)):
            return False
        left = [info for info in self.states(key) if info is not found[0]]
        self.stored.pop(key, None)
        self.older.pop(key, None)
        if left:
            self.stored[key], self.older[key] = left[0], left[1:]
        self.removed.append(key)
        return True

    def states(self, key: str) -> list[ObjectInfo]:
        """Every version of an object, the latest first."""
        return [*([self.stored[key]] if key in self.stored else []), *self.older.get(key, ())]

    # --- the world outside

    def send(self, request: SignedRequest, body: bytes | None = None) -> ObjectInfo:
        """A client sends what was signed: the store binds it all, once, until it expires.

        :raises PutRefused:
        """
        grant = self._grants[request.url]
        if self.clock.now() >= grant.expires_at:
            raise PutRefused("403 Request has expired")
        if grant.key in self.stored and self.guarantees.create_only is Level.ENFORCED:
            raise PutRefused("412 Precondition Failed")
        size = grant.spec.size_bytes if body is None else len(body)
        return self.store(
            grant.key,
            size_bytes=size,
            content_type=grant.spec.content_type,
            checksum=grant.spec.checksum,
            metadata={**grant.spec.object_metadata, CAPSULE_FIELD: grant.capsule},
        )

    def store(
        self,
        key: str,
        *,
        size_bytes: int,
        content_type: str = "application/octet-stream",
        checksum: Checksum | None = None,
        metadata: dict[str, str] | None = None,
    ) -> ObjectInfo:
        """Somebody with rights of his own writes an object, whatever was signed."""
        self._writes += 1
        info = ObjectInfo(
            size_bytes=size_bytes,
            content_type=content_type,
            etag=hashlib.md5(f"{key} {self._writes}".encode(), usedforsecurity=False).hexdigest(),
            version=f"v{self._writes}" if self.keeps_versions else None,
            checksum=checksum or Checksum(),
            metadata=metadata or {},
            last_modified=self.clock.now(),
        )
        if self.keeps_versions:
            self.older[key] = self.states(key)
        self.stored[key] = info
        return info

    def tamper(self, key: str, **changes: object) -> ObjectInfo:
        """What is stored becomes something else, under the same capsule."""
        self.stored[key] = replace(self.stored[key], **changes)
        return self.stored[key]
