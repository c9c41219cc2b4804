"""From a file to its session: hashed once, declared, and asked for until there is an answer."""

import threading
import time
from dataclasses import dataclass

import msgspec

from broker.contract import Checksum, CreateUploadSession, UploadSession
from uploader import events
from uploader.bookmark import Bookmark, NoBookmark
from uploader.checksums import declare, less, spelled
from uploader.errors import BrokerRefused
from uploader.means import Means
from uploader.orders import Order
from uploader.place import objects_of
from uploader.threads import in_thread
from uploader.voice import Voice

MAX_KEY_CHARACTERS = 255  # the broker's own limit


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
        wanted, key = await self._declared(), self.order.idempotency_key
        promise = self.bookmark.promise
        if promise is not None:
            return await self._mint(wanted, promise.idempotency_key)
        try:
            return await self._mint(wanted, key)
        except BrokerRefused as exc:
            weaker = less(wanted.checksum) if self.order.may_declare_less else None
            if weaker is None or exc.problem.code != "checksum-not-provable":
                raise
            self.voice.tell(events.DeclaredLess(file=self.voice.file, algorithm="md5", why=exc.message))
            declared = msgspec.structs.replace(wanted, checksum=weaker)
            return await self._mint(declared, f"{key}~md5"[-MAX_KEY_CHARACTERS:])

    async def _declared(self) -> CreateUploadSession:
        """The declaration; an earlier command that did not hear of its session has left the digests."""
        promise = self.bookmark.promise
        checksum = promise.checksum if promise and promise.checksum else await self._hash()
        size_bytes = self.order.source.size_bytes
        return msgspec.structs.replace(self.order.wanted, size_bytes=size_bytes, checksum=checksum)

    async def _hash(self) -> Checksum:
        source, algorithms = self.order.source, self.order.algorithms
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
