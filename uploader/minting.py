"""From a file to its session: hashed once, declared, and asked for until there is an answer."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from broker.contract import Checksum, CreateUploadSession, UploadSession
from uploader import events
from uploader.bookmark import Bookmark, NoBookmark
from uploader.checksums import Algorithm, declare, spelled
from uploader.errors import BrokerRefused
from uploader.means import Means
from uploader.orders import Order
from uploader.place import objects_of
from uploader.threads import in_thread
from uploader.voice import Voice


@dataclass(frozen=True, slots=True, kw_only=True)
class Minting:
    """The session of one order. A fan-out is noted before it is asked for: whoever is killed then finds it again."""

    order: Order
    means: Means
    voice: Voice
    bookmark: Bookmark | NoBookmark
    meter: events.Meter

    async def run(self) -> tuple[UploadSession, bool]:
        """The session, and whether it is new: nobody can have sent anything of it.

        :raises BrokerRefused: it will never be granted.
        """
        wanted, promise = await self._declared(), self.bookmark.promise
        key = promise.idempotency_key if promise else self.order.idempotency_key
        try:
            return await self._mint(wanted, key)
        except BrokerRefused as exc:
            if not self._may_declare_more(wanted, exc):
                raise
        checksum = await self._hash(self.order.algorithms_if_required)
        return await self._mint(msgspec.structs.replace(wanted, checksum=checksum), key)

    def _may_declare_more(self, wanted: CreateUploadSession, refusal: BrokerRefused) -> bool:
        """The destination demands a digest, and only not to read the file for one there is none."""
        is_demanded = refusal.problem.code == "checksum-not-provable" and wanted.checksum == Checksum()
        return is_demanded and bool(self.order.algorithms_if_required)

    async def _declared(self) -> CreateUploadSession:
        """The declaration; an earlier command that did not hear of its session has left the digests."""
        promise = self.bookmark.promise
        checksum = promise.checksum if promise and promise.checksum else await self._hash(self.order.algorithms)
        size_bytes = self.order.source.size_bytes
        return msgspec.structs.replace(self.order.wanted, size_bytes=size_bytes, checksum=checksum)

    async def _hash(self, algorithms: Sequence[Algorithm]) -> Checksum:
        source = self.order.source
        self.meter.begin("hashing")
        is_stopped = threading.Event()
        started = time.monotonic()
        checksum = await in_thread(
            self.means.executor, is_stopped.set, declare, source, algorithms, self.meter, is_stopped.is_set
        )
        if algorithms:
            seconds = round(time.monotonic() - started, 3)
            self.voice.tell(events.Hashed(file=self.voice.file, algorithm=spelled(algorithms), seconds=seconds))
        return checksum

    async def _mint(self, wanted: CreateUploadSession, key: str) -> tuple[UploadSession, bool]:
        if wanted.destinations:
            self.bookmark.begin(key, wanted.checksum)
        session, is_replay = await self.means.broker.mint(wanted, key, self.voice.retrying)
        self.bookmark.minted(session)
        objects = objects_of(session)
        self.voice.tell(
            events.Minted(
                file=self.voice.file,
                session_id=session.id,
                key=objects[0].key,
                size_bytes=session.size_bytes,
                expires_at=session.expires_at,
                is_replay=is_replay,
                copies={each.destination: each.key for each in objects} if session.copies else {},
            )
        )
        return session, not is_replay
