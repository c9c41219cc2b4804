"""One upload from its declaration to the wished state.

    hash → mint → send ⇄ (pause | re-mint) → complete → wait

The store's answer only says what to do next: a 2xx and a 412 ("it may be mine") both lead to the broker, whose HEAD
decides. If the upload ends in any other way – a refusal, a file that changed, Ctrl-C – the session is aborted, so
that nobody waits for it.
"""

import asyncio
import threading
import time
import uuid
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from broker.contract import Checksum, CreateUploadSession, SignedRequest, State, UploadSession
from uploader import events
from uploader.checksums import Algorithm, declare
from uploader.client import BrokerClient
from uploader.errors import SessionLost, StoreRefused, Unreachable, UploaderError, WaitTimedOut
from uploader.retry import RetryPolicy
from uploader.sender import Answer, Next, Sender
from uploader.source import SMALL_FILE_BYTES, Source
from uploader.threads import in_thread

Wait = Literal["none", "verified", "processed"]

LOST = frozenset({State.REJECTED, State.EXPIRED, State.ABORTED, State.FAILED})
REACHED: dict[Wait, frozenset[State]] = {
    "none": frozenset(State),
    "verified": frozenset({State.VERIFIED, State.PROCESSING, State.PROCESSED}),
    "processed": frozenset({State.PROCESSED}),
}

EXPIRY_MARGIN = timedelta(seconds=5)  # ours: a request that is about to expire is renewed before it is sent
MAX_REFUSALS = 2  # ours: a fresh signature that is refused as well is not a matter of time
FIRST_POLL = timedelta(milliseconds=50)
LONGEST_POLL = timedelta(seconds=3)
ABORT_TIMEOUT = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadResult:
    """An upload that reached the wished state."""

    session_id: str
    state: State
    destination: str
    bucket: str
    key: str
    filename: str
    size_bytes: int
    checksum: Checksum
    attempts: int
    elapsed: timedelta
    sending: timedelta
    session: UploadSession = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to upload, and how far to follow it.

    :ivar wanted: what is declared; size and checksum are filled in by the engine.
    :ivar timeout: for the wished state, counted from the last byte.
    """

    source: Source
    wanted: CreateUploadSession
    algorithm: Algorithm = "sha256"
    wait: Wait = "verified"
    timeout: timedelta = timedelta(minutes=10)
    keeps_session: bool = False
    idempotency_key: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(slots=True, kw_only=True)
class Upload:
    """One run of one order. Its fields are its rights: the broker, the store, a thread, a looker-on."""

    order: Order
    broker: BrokerClient
    sender: Sender
    executor: Executor
    retry: RetryPolicy
    observer: events.Observer
    meter: events.Meter = field(init=False)
    session: UploadSession | None = field(init=False, default=None)
    attempts: int = field(init=False, default=0)

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
            return await self._run()
        except WaitTimedOut:
            raise
        except (UploaderError, asyncio.CancelledError) as exc:
            if isinstance(exc, UploaderError):
                exc.session_id = exc.session_id or (self.session.id if self.session else None)
            await self._abort(exc)
            raise

    async def _run(self) -> UploadResult:
        started = time.monotonic()
        session = await self._mint(await self._declare())
        sending = time.monotonic()
        answer = await self._send(session)
        sent = time.monotonic()
        self._tell(
            events.Sent(
                file=self.file,
                session_id=session.id,
                size_bytes=self.order.source.size_bytes,
                seconds=round(sent - sending, 3),
                attempts=self.attempts,
            )
        )
        session = await self._settle(session, is_sure=200 <= answer.status < 300)
        return self._result(
            session, timedelta(seconds=round(time.monotonic() - started, 3)), timedelta(seconds=sent - sending)
        )

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
        session, is_replay = await self.broker.mint(wanted, self.order.idempotency_key, self._notify)
        self.session = session
        self._tell(
            events.Minted(
                file=self.file,
                session_id=session.id,
                key=session.object.key,
                size_bytes=session.size_bytes,
                expires_at=session.expires_at,
                is_replay=is_replay,
            )
        )
        return session

    async def _send(self, session: UploadSession) -> Answer:
        """Until the store has taken it, or says that something is there already."""
        request = _request(session)
        refusals = 0
        while True:
            # Never before the first attempt: with a clock that is fast, every request seems to be expired.
            if self.attempts and request.expires_at - datetime.now(UTC) < EXPIRY_MARGIN:
                request = await self._remint(session, "the signed request is about to expire")
            self.attempts += 1
            answer = await self.sender.send(request, self.order.source, self.meter)
            match answer.next:
                case Next.CONFIRM:
                    return answer
                case Next.REPEAT if self._may_be_there(answer) and await self._is_there(session):
                    return answer
                case Next.REPEAT if not self.retry.is_last(self.attempts):
                    await self._pause(answer)
                case Next.REMINT if refusals < MAX_REFUSALS:
                    refusals += 1
                    request = await self._remint(session, f"the store says {answer}")
                case _:
                    raise _given_up(answer, self.attempts)

    async def _remint(self, session: UploadSession, why: str) -> SignedRequest:
        self._tell(events.Reminted(file=self.file, session_id=session.id, why=why))
        return _request(await self.broker.remint(session.id, self._notify))

    def _may_be_there(self, answer: Answer) -> bool:
        """Every byte left and only the answer is missing.

        A small file is simply sent again, unless this was the last time: if it is there, the store says 412.
        """
        size = self.order.source.size_bytes
        is_worth_asking = size > SMALL_FILE_BYTES or self.retry.is_last(self.attempts)
        return answer.status == 0 and self.meter.done_bytes == size and is_worth_asking

    async def _is_there(self, session: UploadSession) -> bool:
        """Ask the broker before gigabytes are sent again; it looks at once, and a second time after a moment."""
        seen, pause = await self.broker.complete(session.id, self._notify)
        if seen.state is State.PENDING:
            await asyncio.sleep((pause or self.retry.first_delay).total_seconds())
            seen = await self.broker.get(session.id, self._notify)
        return seen.state is not State.PENDING

    async def _pause(self, answer: Answer) -> None:
        delay = self.retry.delay(self.attempts, answer.retry_after)
        self._notify("send", str(answer), delay, self.attempts)
        await asyncio.sleep(delay.total_seconds())

    async def _settle(self, session: UploadSession, *, is_sure: bool) -> UploadSession:
        """Tell the broker, then follow the session.

        :param is_sure: the store said that these bytes are stored; otherwise "none" is not an answer.
        """
        self.meter.begin("waiting", self.order.source.size_bytes)
        wait = self.order.wait if is_sure or self.order.wait != "none" else "verified"
        deadline = time.monotonic() + self.order.timeout.total_seconds()
        session, pause = await self.broker.complete(session.id, self._notify)
        polls, seen = 0, None
        while True:
            if session.state is not seen:
                seen = session.state
                self._tell(events.StateSeen(file=self.file, session_id=session.id, state=seen.value))
            if seen in LOST:
                raise SessionLost(seen, session.reason or None, session_id=session.id)
            if seen in REACHED[wait]:
                return session
            rest = deadline - time.monotonic()
            if rest <= 0:
                raise WaitTimedOut(
                    f"sent, but still {seen.value} after {self.order.timeout.total_seconds():g} s; "
                    f"`uploader status {session.id}` tells more",
                    session_id=session.id,
                )
            delay = pause or min(LONGEST_POLL, FIRST_POLL * 1.6**polls)
            await asyncio.sleep(min(delay.total_seconds(), rest))
            polls, pause = polls + 1, None
            session = await self.broker.get(session.id, self._notify)

    async def _abort(self, cause: BaseException) -> None:
        """Best effort and short: a session that nobody aborts expires."""
        if self.session is None or self.order.keeps_session or isinstance(cause, SessionLost):
            return
        try:
            async with asyncio.timeout(ABORT_TIMEOUT.total_seconds()):
                await self.broker.abort(self.session.id, self._notify)
        except (UploaderError, TimeoutError):
            return
        why = cause.code if isinstance(cause, UploaderError) else "interrupted"
        self._tell(events.Aborted(file=self.file, session_id=self.session.id, why=why))

    def _result(self, session: UploadSession, elapsed: timedelta, sending: timedelta) -> UploadResult:
        return UploadResult(
            session_id=session.id,
            state=session.state,
            destination=session.object.destination,
            bucket=session.object.bucket,
            key=session.object.key,
            filename=session.filename,
            size_bytes=session.size_bytes,
            checksum=session.checksum or Checksum(),
            attempts=self.attempts,
            elapsed=elapsed,
            sending=sending,
            session=session,
        )

    def _tell(self, event: events.Event) -> None:
        self.observer.on_event(event)

    def _notify(self, what: str, why: str, pause: timedelta, attempt: int) -> None:
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


def _request(session: UploadSession) -> SignedRequest:
    if not session.upload:
        raise Unreachable(f"the broker gives no signed request for a session that is {session.state.value}")
    return session.upload.request


def _given_up(answer: Answer, attempts: int) -> UploaderError:
    if answer.next is Next.REPEAT:
        return Unreachable(f"the store does not take it after {attempts} attempts; last: {answer}")
    return StoreRefused(f"the store refuses the upload: {answer}")
