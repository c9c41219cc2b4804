"""An upload by one PUT, sent until the store has taken it or says that something is there already."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from broker.contract import PutUpload, SignedRequest
from uploader.errors import StoreRefused, Unreachable, UploaderError
from uploader.events import Meter
from uploader.place import Place
from uploader.proof import Proof
from uploader.retry import RetryPolicy
from uploader.sender import EXPIRY_MARGIN, MAX_REFUSALS, Answer, Next, Sender
from uploader.source import SMALL_FILE_BYTES, Source


@dataclass(slots=True, kw_only=True)
class PutTransfer:
    """One object's bytes.

    :ivar attempts: PUTs so far.
    :ivar sent_bytes: what the store has taken, from us or before.
    :ivar sent_at: when it had, on the monotonic clock.
    """

    place: Place
    proof: Proof
    source: Source
    sender: Sender
    retry: RetryPolicy
    meter: Meter
    attempts: int = field(init=False, default=0)
    sent_bytes: int = field(init=False, default=0)
    sent_at: float = field(init=False, default_factory=time.monotonic)

    async def run(self) -> Answer:
        """:raises UploaderError: the store refuses, or the file changed."""
        answer = await self._send()
        self.sent_at = time.monotonic()
        self.sent_bytes = self.source.size_bytes
        return answer

    async def _send(self) -> Answer:
        request = self._request()
        refusals = 0
        while True:
            # Never before the first attempt: with a clock that is fast, every request seems to be expired.
            if self.attempts and request.expires_at - datetime.now(UTC) < EXPIRY_MARGIN:
                request = await self._remint("the signed request is about to expire")
            self.attempts += 1
            answer = await self.sender.send(request, self.proof.watched(self.source), self.meter)
            answer = self.proof.heard(answer)
            match answer.next:
                case Next.CONFIRM:
                    return answer
                case Next.REPEAT if self._may_be_there(answer) and await self._is_there():
                    return answer
                case Next.REPEAT if not self.retry.is_last(self.attempts):
                    await self._pause(answer)
                case Next.REMINT if refusals < MAX_REFUSALS:
                    refusals += 1
                    request = await self._remint(f"the store says {answer}")
                case _:
                    raise _given_up(answer, self.attempts)

    def _request(self) -> SignedRequest:
        standing = self.place.standing
        if not isinstance(standing.upload, PutUpload):
            why = f": {self.place.reason.message}" if self.place.reason else ""
            raise Unreachable(f"the broker gives no signed request for what is {standing.state.value}{why}")
        return standing.upload.request

    async def _remint(self, why: str) -> SignedRequest:
        self.place.voice.reminted(why)
        await self.place.remint()
        return self._request()

    def _may_be_there(self, answer: Answer) -> bool:
        """Every byte left and only the answer is missing.

        A small file is simply sent again, unless this was the last time: if it is there, the store says 412.
        """
        size = self.source.size_bytes
        is_worth_asking = size > SMALL_FILE_BYTES or self.retry.is_last(self.attempts)
        return answer.status == 0 and self.meter.done_bytes == size and is_worth_asking

    async def _is_there(self) -> bool:
        """Ask the broker before gigabytes are sent again; it looks at once, and a second time after a moment."""
        pause = await self.place.complete()
        if self.place.is_pending:
            await asyncio.sleep((pause or self.retry.first_delay).total_seconds())
            await self.place.look()
        return not self.place.is_pending

    async def _pause(self, answer: Answer) -> None:
        delay = self.retry.delay(self.attempts, answer.retry_after)
        self.place.voice.retrying("send", str(answer), delay, self.attempts)
        await asyncio.sleep(delay.total_seconds())


def _given_up(answer: Answer, attempts: int) -> UploaderError:
    if answer.next is Next.REPEAT:
        return Unreachable(f"the store does not take it after {attempts} attempts; last: {answer}")
    return StoreRefused(f"the store refuses the upload: {answer}")
