"""An upload by one PUT, sent until the store has taken it or says that something is there already."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

from broker.contract import PutUpload, SignedRequest, State, UploadSession
from uploader import events
from uploader.client import BrokerClient, Notify
from uploader.errors import StoreRefused, Unreachable, UploaderError
from uploader.retry import RetryPolicy
from uploader.sender import EXPIRY_MARGIN, MAX_REFUSALS, Answer, Next, Sender
from uploader.source import SMALL_FILE_BYTES, Source


@dataclass(slots=True, kw_only=True)
class PutTransfer:
    """One session's bytes.

    :ivar attempts: PUTs so far.
    """

    source: Source
    broker: BrokerClient
    sender: Sender
    retry: RetryPolicy
    meter: events.Meter
    observer: events.Observer
    notify: Notify
    attempts: int = field(init=False, default=0)

    async def run(self, session: UploadSession) -> Answer:
        """:raises UploaderError: the store refuses, or the file changed."""
        request = _request(session)
        refusals = 0
        while True:
            # Never before the first attempt: with a clock that is fast, every request seems to be expired.
            if self.attempts and request.expires_at - datetime.now(UTC) < EXPIRY_MARGIN:
                request = await self._remint(session, "the signed request is about to expire")
            self.attempts += 1
            answer = await self.sender.send(request, self.source, self.meter)
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
        self.observer.on_event(events.Reminted(file=self.meter.file, session_id=session.id, why=why))
        return _request(await self.broker.remint(session.id, self.notify))

    def _may_be_there(self, answer: Answer) -> bool:
        """Every byte left and only the answer is missing.

        A small file is simply sent again, unless this was the last time: if it is there, the store says 412.
        """
        size = self.source.size_bytes
        is_worth_asking = size > SMALL_FILE_BYTES or self.retry.is_last(self.attempts)
        return answer.status == 0 and self.meter.done_bytes == size and is_worth_asking

    async def _is_there(self, session: UploadSession) -> bool:
        """Ask the broker before gigabytes are sent again; it looks at once, and a second time after a moment."""
        seen, pause = await self.broker.complete(session.id, self.notify)
        if seen.state is State.PENDING:
            await asyncio.sleep((pause or self.retry.first_delay).total_seconds())
            seen = await self.broker.get(session.id, self.notify)
        return seen.state is not State.PENDING

    async def _pause(self, answer: Answer) -> None:
        delay = self.retry.delay(self.attempts, answer.retry_after)
        self.notify("send", str(answer), delay, self.attempts)
        await asyncio.sleep(delay.total_seconds())


def _request(session: UploadSession) -> SignedRequest:
    if not isinstance(session.upload, PutUpload):
        raise Unreachable(f"the broker gives no signed request for a session that is {session.state.value}")
    return session.upload.request


def _given_up(answer: Answer, attempts: int) -> UploaderError:
    if answer.next is Next.REPEAT:
        return Unreachable(f"the store does not take it after {attempts} attempts; last: {answer}")
    return StoreRefused(f"the store refuses the upload: {answer}")
