"""One upload from its declaration to the wished state.

    (hash → mint | take up what was interrupted) → send ⇄ (pause | re-mint) → complete → wait

The store's answer only says what to do next: a 2xx and a 412 ("it may be mine") both lead to the broker, whose HEAD
decides. If the upload ends in any other way – a refusal, a file that changed, Ctrl-C – the session is aborted, so
that nobody waits for it. One in parts that has left a note is kept when it is interrupted: the same command goes on.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from broker.contract import (
    Checksum,
    CreateUploadSession,
    MultipartUpload,
    PartRequest,
    PartsStatus,
    State,
    UploadSession,
)
from uploader import events
from uploader.bookmark import ABORT_TIMEOUT, Bookmark
from uploader.checksums import declare
from uploader.client import BrokerClient
from uploader.errors import SessionLost, UploaderError, WaitTimedOut
from uploader.orders import LOST, REACHED, Order, UploadResult
from uploader.parts import Cut, PartsTransfer
from uploader.places import places_of
from uploader.retry import RetryPolicy
from uploader.sender import Sender
from uploader.single import PutTransfer
from uploader.threads import in_thread

FIRST_POLL = timedelta(milliseconds=50)
LONGEST_POLL = timedelta(seconds=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What was sent, and when it was done. Of a multipart the parts, so that they can be asked after."""

    session: UploadSession
    pause: timedelta | None
    is_sure: bool
    at: float
    attempts: int = 0
    size_bytes: int = 0
    parts: PartsTransfer | None = None


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
    observer: events.Observer
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
        self.observer.on_meter(self.meter)
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
        session = await self._taken_up() or await self._mint(await self._declare())
        sending = time.monotonic()
        sent = await self._send(session)
        seconds = max(0.0, sent.at - sending)
        if sent.attempts:
            self._tell(
                events.Sent(
                    file=self.file,
                    session_id=session.id,
                    size_bytes=sent.size_bytes,
                    seconds=round(seconds, 3),
                    attempts=sent.attempts,
                    parts=sent.parts.sent_parts if sent.parts else 0,
                )
            )
        session = await self._settle(sent)
        elapsed = timedelta(seconds=round(time.monotonic() - started, 3))
        return self._result(session, sent, elapsed, timedelta(seconds=seconds))

    async def _taken_up(self) -> UploadSession | None:
        self.session = await self.bookmark.take_up() if self.bookmark else None
        return self.session

    async def _declare(self) -> CreateUploadSession:
        source, algorithm = self.order.source, self.order.algorithm
        self.meter.begin("hashing")
        is_stopped = threading.Event()
        started = time.monotonic()
        checksum = await in_thread(
            self.executor, is_stopped.set, declare, source, algorithm, self.meter, is_stopped.is_set
        )
        if algorithm != "none":
            self._tell(events.Hashed(file=self.file, algorithm=algorithm, seconds=round(time.monotonic() - started, 3)))
        return msgspec.structs.replace(self.order.wanted, size_bytes=source.size_bytes, checksum=checksum)

    async def _mint(self, wanted: CreateUploadSession) -> UploadSession:
        session, is_replay = await self.broker.mint(wanted, self.order.idempotency_key, self.notify)
        self.session = session
        if self.bookmark and isinstance(session.upload, MultipartUpload):
            self.bookmark.begin(session)
        self._tell(
            events.Minted(
                file=self.file,
                session_id=session.id,
                key=places_of(session)[0].key,
                size_bytes=session.size_bytes,
                expires_at=session.expires_at,
                is_replay=is_replay,
            )
        )
        return session

    async def _send(self, session: UploadSession) -> Sent:
        if isinstance(session.upload, MultipartUpload):
            upload = session.upload
            return await self._send_parts(session, upload, range(1, upload.part_count + 1), upload.parts)
        if session.parts:
            return await self._send_parts(session, session.parts, session.parts.missing, [])
        if self.bookmark and self.bookmark.is_left:  # verified, but the command that sent it did not hear of it
            return Sent(session=session, pause=None, is_sure=True, at=time.monotonic())
        return await self._put(session)

    async def _put(self, session: UploadSession) -> Sent:
        transfer = PutTransfer(
            source=self.order.source,
            broker=self.broker,
            sender=self.sender,
            retry=self.retry,
            meter=self.meter,
            observer=self.observer,
            notify=self.notify,
        )
        answer = await transfer.run(session)
        sent_at = time.monotonic()
        self.meter.begin("waiting", self.order.source.size_bytes)
        session, pause = await self.broker.complete(session.id, self.notify)
        return Sent(
            session=session,
            pause=pause,
            is_sure=200 <= answer.status < 300,
            at=sent_at,
            attempts=transfer.attempts,
            size_bytes=self.order.source.size_bytes,
        )

    async def _send_parts(
        self,
        session: UploadSession,
        cut: MultipartUpload | PartsStatus,
        left: Sequence[int],
        first: Sequence[PartRequest],
    ) -> Sent:
        size = self.order.source.size_bytes
        transfer = PartsTransfer(
            session_id=session.id,
            cut=Cut(size_bytes=size, part_size_bytes=cut.part_size_bytes, part_count=cut.part_count),
            source=self.order.source,
            broker=self.broker,
            sender=self.sender,
            retry=self.retry,
            meter=self.meter,
            observer=self.observer,
            notify=self.notify,
            jobs=self.order.jobs,
        )
        session, pause = await transfer.run(left, first)
        return Sent(
            session=session,
            pause=pause,
            is_sure=True,
            at=transfer.sent_at,
            attempts=transfer.attempts,
            size_bytes=transfer.sent_bytes,
            parts=transfer,
        )

    async def _settle(self, sent: Sent) -> UploadSession:
        """Follow the session. Where the store did not say that these bytes are stored, "none" is not an answer."""
        self.meter.begin("waiting", self.order.source.size_bytes)
        wait = self.order.wait if sent.is_sure or self.order.wait != "none" else "verified"
        session, pause = sent.session, sent.pause
        polls, seen = 0, None
        while True:
            if session.state is not seen:
                seen = session.state
                self._tell(events.StateSeen(file=self.file, session_id=session.id, state=seen.value))
            if seen in LOST:
                raise SessionLost(seen, session.reason or None, session_id=session.id)
            if seen in REACHED[wait]:
                return session
            sent_at = sent.parts.sent_at if sent.parts else sent.at
            rest = sent_at + self.order.timeout.total_seconds() - time.monotonic()
            if rest <= 0:
                raise WaitTimedOut(
                    f"sent, but still {seen.value} after {self.order.timeout.total_seconds():g} s; "
                    f"`uploader status {session.id}` tells more",
                    session_id=session.id,
                )
            delay = pause or min(LONGEST_POLL, FIRST_POLL * 1.6**polls)
            await asyncio.sleep(min(delay.total_seconds(), rest))
            polls += 1
            session, pause = await self._again(session, sent.parts)

    async def _again(
        self, session: UploadSession, parts: PartsTransfer | None
    ) -> tuple[UploadSession, timedelta | None]:
        """Parts that are not put together are asked for once more, and sent if it turns out that they are missing."""
        if parts is not None and session.state is State.PENDING:
            return await parts.run([])
        return await self.broker.get(session.id, self.notify), None

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
                    await self.broker.abort(self.session.id, self.notify)
            except (UploaderError, TimeoutError):
                pass
            else:
                self._forget()
                self._tell(events.Aborted(file=self.file, session_id=self.session.id, why=why))
                return
        if is_left:
            self._tell(events.Kept(file=self.file, session_id=self.session.id, why=why))

    def _forget(self) -> None:
        if self.bookmark is not None:
            self.bookmark.forget()

    def _result(self, session: UploadSession, sent: Sent, elapsed: timedelta, sending: timedelta) -> UploadResult:
        place = places_of(session)[0]
        return UploadResult(
            session_id=session.id,
            state=session.state,
            destination=place.destination,
            bucket=place.bucket,
            key=place.key,
            filename=session.filename,
            size_bytes=session.size_bytes,
            checksum=session.checksum or Checksum(),
            attempts=sent.attempts,
            elapsed=elapsed,
            sending=sending,
            sent_bytes=sent.size_bytes,
            session=session,
        )

    def _tell(self, event: events.Event) -> None:
        self.observer.on_event(event)

    def notify(self, what: str, why: str, pause: timedelta, attempt: int) -> None:
        self._tell(
            events.Retrying(
                file=self.file,
                what=what,
                why=why,
                delay_seconds=round(pause.total_seconds(), 3),
                attempt=attempt,
                session_id=self.session.id if self.session else None,
            )
        )
