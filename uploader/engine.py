"""One upload from its declaration to the wished state.

    (hash → mint | take up what was interrupted) → send ⇄ (pause | re-mint) → complete → wait

If the upload ends in any other way – a refusal, a file that changed, Ctrl-C – the session is aborted, so that nobody
waits for it. One that somebody can go on with, by its note or its key, is kept when it was interrupted or nobody
answered, and so is a fan-out of which copies are missing.
"""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import timedelta

from broker.contract import Checksum, UploadSession
from uploader import events
from uploader.bookmark import ABORT_TIMEOUT, Bookmark, NoBookmark
from uploader.copies import FanOut
from uploader.delivery import Delivery
from uploader.errors import (
    BrokerRefused,
    ContentMismatch,
    CopiesMissing,
    SessionLost,
    Unreachable,
    UploaderError,
    WaitTimedOut,
)
from uploader.means import Means
from uploader.minting import Minting
from uploader.orders import Order, Outcome, UploadResult
from uploader.place import Place, objects_of
from uploader.voice import Voice


@dataclass(slots=True, kw_only=True)
class Upload:
    """One run of one order.

    :ivar bookmark: where this upload is remembered if it is interrupted.
    """

    order: Order
    means: Means
    voice: Voice
    bookmark: Bookmark | NoBookmark
    meter: events.Meter = field(init=False)
    session: UploadSession | None = field(init=False, default=None)
    is_fresh: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.meter = events.Meter(self.order.source.name, self.order.source.size_bytes)

    async def run(self) -> UploadResult:
        """Do it.

        :raises UploaderError: what went wrong; the session is aborted unless its bytes may still be verified.
        """
        self.voice.observer.on_meter(self.meter)
        try:
            result = await self._run()
            if result.missing:
                self._keep("copies-missing")
            else:
                self.bookmark.forget()
        except WaitTimedOut:
            raise
        except (UploaderError, asyncio.CancelledError) as exc:
            if isinstance(exc, UploaderError):
                exc.session_id = exc.session_id or self.voice.session_id
            await self._leave(exc)
            raise
        finally:
            self.bookmark.close()
        return result

    async def _run(self) -> UploadResult:
        started = time.monotonic()
        session = await self._found()
        sending = time.monotonic()
        outcome = await (self._to_copies(session) if session.copies else self._to_one(session))
        elapsed = timedelta(seconds=round(time.monotonic() - started, 3))
        return self._result(outcome, elapsed, timedelta(seconds=max(0.0, outcome.sent_at - sending)))

    async def _found(self) -> UploadSession:
        """The session to send to: an earlier command's, or a new one."""
        session = await self.bookmark.take_up()
        if session is None:
            minting = Minting(
                order=self.order, means=self.means, voice=self.voice, bookmark=self.bookmark, meter=self.meter
            )
            session, self.is_fresh = await minting.run()
        self.session = session
        self.voice.session_id = session.id
        return session

    async def _to_one(self, session: UploadSession) -> Outcome:
        delivery = Delivery(
            place=Place(broker=self.means.broker, voice=self.voice, session=session),
            source=self.order.source,
            sender=self.means.sender,
            retry=self.means.retry,
            meter=self.meter,
            jobs=self.order.jobs,
            is_fresh=self.is_fresh,
            is_proof_sought=self.order.is_proof_sought,
        )
        await delivery.send()
        await delivery.settle(self.order.wait, self.order.timeout)
        return Outcome(
            session=delivery.place.session,
            attempts=delivery.attempts,
            sent_bytes=delivery.sent_bytes,
            sent_at=delivery.sent_at,
            proved=delivery.proved,
        )

    async def _to_copies(self, session: UploadSession) -> Outcome:
        fan_out = FanOut(
            session=session,
            order=self.order,
            means=self.means,
            meter=self.meter,
            voice=self.voice,
            is_fresh=self.is_fresh,
        )
        return await fan_out.run()

    async def _leave(self, cause: BaseException) -> None:
        """Abort, unless somebody goes on. Best effort and short: a session that nobody aborts expires."""
        if self.session is None:
            if isinstance(cause, BrokerRefused):
                self.bookmark.forget()
            return
        if isinstance(cause, SessionLost):
            self.bookmark.forget()
            return
        why = cause.code if isinstance(cause, UploaderError) else "interrupted"
        if self._is_kept(cause):
            self._keep(why)
        elif await self._abort(self.session):
            self.bookmark.forget()
            self.voice.tell(events.Aborted(file=self.voice.file, session_id=self.session.id, why=why))
        elif isinstance(cause, ContentMismatch):
            self.bookmark.forget()  # or the next command would take it for its own
        else:
            self._keep(why)

    def _is_kept(self, cause: BaseException) -> bool:
        if isinstance(cause, CopiesMissing) and cause.is_late:
            return True
        is_resumable = self.bookmark.is_left or self.order.is_repeatable
        is_for_now = isinstance(cause, CopiesMissing | Unreachable | asyncio.CancelledError)
        return self.order.keeps_session or (is_resumable and is_for_now)

    async def _abort(self, session: UploadSession) -> bool:
        try:
            async with asyncio.timeout(ABORT_TIMEOUT.total_seconds()):
                await self.means.broker.abort(session.id, self.voice.retrying)
        except (UploaderError, TimeoutError):
            return False
        return True

    def _keep(self, why: str) -> None:
        if self.bookmark.is_left and self.session is not None:
            self.voice.tell(events.Kept(file=self.voice.file, session_id=self.session.id, why=why))

    def _result(self, outcome: Outcome, elapsed: timedelta, sending: timedelta) -> UploadResult:
        session = outcome.session
        first = objects_of(session)[0]
        return UploadResult(
            session_id=session.id,
            state=session.state,
            destination=first.destination,
            bucket=first.bucket,
            key=first.key,
            filename=session.filename,
            size_bytes=session.size_bytes,
            checksum=session.checksum or Checksum(),
            attempts=outcome.attempts,
            elapsed=elapsed,
            sending=sending,
            sent_bytes=outcome.sent_bytes,
            session=session,
            proved=outcome.proved,
            copies=outcome.copies,
        )
