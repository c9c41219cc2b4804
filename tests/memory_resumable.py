"""Uploads that a store holds open, in a dict: the right to open them, clients that send by a URI, places to meddle."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from broker.contract import Guarantees, Level, SignedRequest
from broker.domain.errors import BrokerError
from broker.domain.objects import CAPSULE_FIELD, ObjectInfo, UploadSpec
from broker.domain.resumable import LIVES_AT_MOST

if TYPE_CHECKING:
    from tests.memory_bucket import MemoryBucket

MULTIPLE = 262_144


class PieceRefused(Exception):
    """What a real store would have answered to a client."""


@dataclass(slots=True, kw_only=True)
class _Open:
    key: str
    spec: UploadSpec
    capsule: str
    origin: str | None
    opened_at: datetime
    received: int = 0
    is_complete: bool = False
    is_cancelled: bool = False


async def _nothing() -> None:
    return


@dataclass(slots=True, kw_only=True)
class MemoryResumables:
    """Implements ResumableUploads.

    :param guarantees: what a session binds, if not the same as a single PUT.
    :param cancels_needed: how often an upload must be cancelled until the store is sure.
    :param before_open, after_open, before_offset, before_cancel, after_cancel: awaited there.
    :param held: every upload that was ever opened and not forgotten, by its URI.
    """

    bucket: "MemoryBucket"
    guarantees: Guarantees | None = None
    cancels_needed: int = 1
    before_open: Callable[[], Awaitable[None]] = _nothing
    after_open: Callable[[], Awaitable[None]] = _nothing
    before_offset: Callable[[], Awaitable[None]] = _nothing
    before_cancel: Callable[[], Awaitable[None]] = _nothing
    after_cancel: Callable[[], Awaitable[None]] = _nothing
    held: dict[str, _Open] = field(default_factory=dict)
    opened: int = 0
    asked: int = 0
    cancelled: list[str] = field(default_factory=list)
    _cancels: dict[str, int] = field(default_factory=dict)

    # --- the right

    @property
    def chunk_multiple_bytes(self) -> int:
        return MULTIPLE

    def binds(self, spec: UploadSpec) -> Guarantees:
        return self.guarantees or self.bucket.binds(spec)

    async def open(self, key: str, spec: UploadSpec, capsule: str, *, origin: str | None) -> str:
        await self.before_open()
        self._check_trouble()
        self.opened += 1
        uri = f"https://bucket.test/upload/{key}?upload_id=bearer-secret-{self.opened}"
        now = self.bucket.clock.now()
        self.held[uri] = _Open(key=key, spec=spec, capsule=capsule, origin=origin, opened_at=now)
        await self.after_open()
        return uri

    async def offset(self, uri: str, size_bytes: int) -> int | None:
        await self.before_offset()
        self._check_trouble()
        self.asked += 1
        found = self.held.get(uri)
        if found and found.is_complete:
            return size_bytes
        return found.received if found and self._lives(found) else None

    async def cancel(self, uri: str) -> bool:
        await self.before_cancel()
        self._check_trouble()
        found = self.held.get(uri)
        if found is None or not self._lives(found):
            return True
        self._cancels[uri] = self._cancels.get(uri, 0) + 1
        if self._cancels[uri] < self.cancels_needed:
            return False
        found.is_cancelled = True
        self.cancelled.append(uri)
        await self.after_cancel()
        return True

    # --- the world outside

    def send(self, request: SignedRequest, up_to: int | None = None) -> ObjectInfo | int:
        """A client sends the next bytes, up to this offset or all that is left. The object, or how much is there.

        :raises PieceRefused:
        """
        return self.send_by(request.url, up_to)

    def send_by(self, uri: str, up_to: int | None = None) -> ObjectInfo | int:
        """Whoever holds a URI may send."""
        found = self.held.get(uri)
        if found is None or found.is_cancelled:
            raise PieceRefused("404 Not Found" if found is None else "499 Client Closed Request")
        if found.is_complete:
            return found.spec.size_bytes
        if not self._lives(found):
            raise PieceRefused("410 Gone")
        end = found.spec.size_bytes if up_to is None else up_to
        if end < found.spec.size_bytes and end % MULTIPLE:
            raise PieceRefused("400 Bad Request")
        found.received = max(found.received, end)
        return found.received if found.received < found.spec.size_bytes else self.finish(uri, found.received)

    def finish(self, uri: str, size_bytes: int) -> ObjectInfo:
        """What came by a URI becomes the object, of whatever size, where the store does not bind it."""
        found = self.held[uri]
        if found.key in self.bucket.stored and self.binds(found.spec).create_only is Level.ENFORCED:
            raise PieceRefused("412 Precondition Failed")
        found.is_complete = True
        return self.bucket.store(
            found.key,
            size_bytes=size_bytes,
            content_type=found.spec.content_type,
            checksum=found.spec.checksum,
            metadata={**found.spec.object_metadata, CAPSULE_FIELD: found.capsule},
        )

    def forget(self, key: str) -> None:
        """The store loses what it held open under `key`."""
        self.held = {uri: found for uri, found in self.held.items() if found.key != key}

    def lives(self, uri: str) -> bool:
        """Whether bytes may still come by it."""
        found = self.held.get(uri)
        return found is not None and self._lives(found)

    # --- within

    def _lives(self, found: _Open) -> bool:
        is_young = self.bucket.clock.now() < found.opened_at + LIVES_AT_MOST
        return is_young and not found.is_complete and not found.is_cancelled

    def _check_trouble(self) -> None:
        trouble: BrokerError | None = self.bucket.trouble
        if trouble:
            raise trouble
