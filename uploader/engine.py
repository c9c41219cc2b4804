"""One upload from its declaration to the wished state.

    (hash → mint | take up what was interrupted) → send ⇄ (pause | re-mint) → complete → wait

If the upload ends in any other way – a refusal, a file that changed, Ctrl-C – the session is aborted, so that nobody
waits for it. One that has left a note is kept when it is interrupted: the same command goes on.
"""

import asyncio
import threading
import time
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from broker.contract import Checksum, CreateUploadSession, MultipartUpload, UploadSession
from uploader import events
from uploader.bookmark import ABORT_TIMEOUT, Bookmark
from uploader.checksums import declare, spelled
from uploader.client import BrokerClient
from uploader.delivery import Delivery
from uploader.errors import SessionLost, UploaderError, WaitTimedOut
from uploader.orders import Order, UploadResult
from uploader.place import Place, objects_of
from uploader.retry import RetryPolicy
from uploader.sender import Sender
from uploader.threads import in_thread
from uploader.voice import Voice


@dataclass(slots=True, kw_only=True)
class Upload:
    """One run of one order. Its fields are its rights: the broker, the store, a thread, a looker-on.

    :ivar bookmark: where this upload is remembered if it is interrupted.
    """

    order: Order
    broker: BrokerClient
    sender: Sender
    executor: Executor
    retry: RetryPolicy
    voice: Voice
    bookmark: Bookmark | None = None
    meter: events.Meter = field(init=False)
    session: UploadSession | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.meter = events.Meter(self.order.source.name, self.order.source.size_bytes)

    @property
    def file(self) -> str:
        return self.order.source.name

    async def run(self) -> UploadResult:
        """Do it.

        :raises UploaderError: what went wrong; the session is aborted unless its bytes may still be verified.
        """
        self.voice.observer.on_meter(self.meter)
        try:
            result = await self._run()
            self._forget()
        except WaitTimedOut:
            raise
        except (UploaderError, asyncio.CancelledError) as exc:
            if isinstance(exc, UploaderError):
                exc.session_id = exc.session_id or (self.session.id if self.session else None)
            await self._leave(exc)
            raise
        finally:
            if self.bookmark is not None:
                self.bookmark.close()
        return result

    async def _run(self) -> UploadResult:
        started = time.monotonic()
        taken_up = await self.bookmark.take_up() if self.bookmark else None
        session = self._seen(taken_up) if taken_up else await self._mint(await self._declare())
        delivery = Delivery(
            place=Place(broker=self.broker, voice=self.voice, session=session),
            source=self.order.source,
            sender=self.sender,
            retry=self.retry,
            meter=self.meter,
            jobs=self.order.jobs,
            is_fresh=taken_up is None,
        )
        sending = time.monotonic()
        await delivery.send()
        seconds = max(0.0, delivery.sent_at - sending)
        await delivery.settle(self.order.wait, self.order.timeout)
        elapsed = timedelta(seconds=round(time.monotonic() - started, 3))
        return self._result(delivery, elapsed, timedelta(seconds=seconds))

    def _seen(self, session: UploadSession) -> UploadSession:
        self.session = session
        self.voice.session_id = session.id
        return session

    async def _declare(self) -> CreateUploadSession:
        source, algorithms = self.order.source, self.order.algorithms
        self.meter.begin("hashing")
        is_stopped = threading.Event()
        started = time.monotonic()
        checksum = await in_thread(
            self.executor, is_stopped.set, declare, source, algorithms, self.meter, is_stopped.is_set
        )
        if algorithms:
            seconds = round(time.monotonic() - started, 3)
            self.voice.tell(events.Hashed(file=self.file, algorithm=spelled(algorithms), seconds=seconds))
        return msgspec.structs.replace(self.order.wanted, size_bytes=source.size_bytes, checksum=checksum)

    async def _mint(self, wanted: CreateUploadSession) -> UploadSession:
        session, is_replay = await self.broker.mint(wanted, self.order.idempotency_key, self.voice.retrying)
        self._seen(session)
        if self.bookmark and isinstance(session.upload, MultipartUpload):
            self.bookmark.begin(session)
        self.voice.tell(
            events.Minted(
                file=self.file,
                session_id=session.id,
                key=objects_of(session)[0].key,
                size_bytes=session.size_bytes,
                expires_at=session.expires_at,
                is_replay=is_replay,
            )
        )
        return session

    async def _leave(self, cause: BaseException) -> None:
        """Abort, unless somebody goes on. Best effort and short: a session that nobody aborts expires."""
        if self.session is None:
            return
        if isinstance(cause, SessionLost):
            self._forget()
            return
        why = cause.code if isinstance(cause, UploaderError) else "interrupted"
        is_left = self.bookmark is not None and self.bookmark.is_left
        if not self.order.keeps_session and not (is_left and isinstance(cause, asyncio.CancelledError)):
            try:
                async with asyncio.timeout(ABORT_TIMEOUT.total_seconds()):
                    await self.broker.abort(self.session.id, self.voice.retrying)
            except (UploaderError, TimeoutError):
                pass
            else:
                self._forget()
                self.voice.tell(events.Aborted(file=self.file, session_id=self.session.id, why=why))
                return
        if is_left:
            self.voice.tell(events.Kept(file=self.file, session_id=self.session.id, why=why))

    def _forget(self) -> None:
        if self.bookmark is not None:
            self.bookmark.forget()

    def _result(self, delivery: Delivery, elapsed: timedelta, sending: timedelta) -> UploadResult:
        session = delivery.place.session
        place = objects_of(session)[0]
        return UploadResult(
            session_id=session.id,
            state=session.state,
            destination=place.destination,
            bucket=place.bucket,
            key=objects_of(session)[0].key,
            filename=session.filename,
            size_bytes=session.size_bytes,
            checksum=session.checksum or Checksum(),
            attempts=delivery.attempts,
            elapsed=elapsed,
            sending=sending,
            sent_bytes=delivery.sent_bytes,
            session=session,
        )
