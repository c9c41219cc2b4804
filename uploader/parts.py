"""An upload in parts: side by side, each sent again by itself, until the broker has put them together.

S3 API reference, "UploadPart": a part that is sent twice replaces itself, so a lost answer costs one part and no
more. "CompleteMultipartUpload" is the broker's business; here it is asked for, and asked what is missing.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from broker.contract import PartRequest
from uploader.errors import BrokerRefused, StoreRefused, Unreachable, UploaderError
from uploader.events import Meter
from uploader.grants import Granted, Grants
from uploader.place import Place
from uploader.proof import Proof
from uploader.retry import RetryPolicy
from uploader.sender import MAX_REFUSALS, Answer, Next, Sender
from uploader.source import Slice, Source
from uploader.together import together

MAX_FRUITLESS = 3  # ours: a store that thrice does not keep what it took will not do so the fourth time


class UploadVanished(Exception):
    """The store does not know the multipart upload: it was completed, or cleared away. The broker knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How the object is cut. All parts but the last have the same size."""

    size_bytes: int
    part_size_bytes: int
    part_count: int

    def size_of(self, number: int) -> int:
        return min(self.part_size_bytes, self.size_bytes - (number - 1) * self.part_size_bytes)

    def slice_of(self, source: Source, part: PartRequest) -> Slice:
        """:raises Unreachable: the broker names other bytes than the ones that the part consists of."""
        begin = (part.number - 1) * self.part_size_bytes
        if (part.offset_bytes, part.size_bytes) != (begin, self.size_of(part.number)):
            raise Unreachable(f"the broker's request for part {part.number} does not fit the session")
        return Slice(whole=source, begin_bytes=begin, size_bytes=part.size_bytes)


@dataclass(slots=True, kw_only=True)
class PartsTransfer:
    """One object's parts. Memory is bounded by `jobs`, whatever the file's size.

    :ivar jobs: parts under way at a time.
    :ivar attempts: PUTs of parts so far.
    :ivar sent_bytes: what the store has taken from us.
    :ivar sent_at: when it had taken the last part, on the monotonic clock.
    """

    place: Place
    proof: Proof
    cut: Cut
    source: Source
    sender: Sender
    retry: RetryPolicy
    meter: Meter
    jobs: int
    attempts: int = field(init=False, default=0)
    sent_bytes: int = field(init=False, default=0)
    sent_parts: int = field(init=False, default=0)
    sent_at: float = field(init=False, default_factory=time.monotonic)

    async def run(self, left: Sequence[int] = (), first: Sequence[PartRequest] = ()) -> timedelta | None:
        """Send these parts, ask for the completion, and send what is missing all the same.

        :param left: none of them is fine: then it is asked only.
        :returns: when to ask again; the object is settled then, or nothing of it is missing.
        :raises UploaderError: a part is refused, or the file changed; the others are stopped.
        """
        fruitless = 0
        while True:
            try:
                await self._send_all(left, first)
            except UploadVanished:
                self.place.voice.reminted("the store does not know the upload any more")
            except BrokerRefused as exc:
                if exc.problem.code != "session-settled":
                    raise
            pause, missing = await self._complete()
            if not missing:
                return pause
            fruitless += not set(left).isdisjoint(missing)
            if fruitless >= MAX_FRUITLESS:
                raise Unreachable(f"{len(missing)} parts are missing although the store took them {fruitless} times")
            left, first = missing, ()

    async def _complete(self) -> tuple[timedelta | None, list[int]]:
        """What is missing, the broker says; the store's answers to single parts are no proof."""
        pause = await self.place.complete()
        if self.place.is_pending:
            await self.place.look()
        parts = self.place.standing.parts
        return pause, parts.missing if parts and self.place.is_pending else []

    async def _send_all(self, left: Sequence[int], first: Sequence[PartRequest]) -> None:
        if not left:
            return
        left_bytes = sum(self.cut.size_of(number) for number in left)
        self.meter.begin("sending", self.cut.size_bytes - left_bytes)
        grants = Grants(self.place.parts, left, first)
        try:
            await together([self._work(grants) for _ in range(min(self.jobs, len(left)))])
        finally:
            self.sent_at = time.monotonic()
            self.meter.begin("waiting", self.meter.done_bytes)

    async def _work(self, grants: Grants) -> None:
        while (granted := await grants.next()) is not None:
            part = granted.part
            with self.meter.lane(part.size_bytes) as lane:
                await self._send(granted, grants, lane)
            self.sent_bytes += part.size_bytes
            self.sent_parts += 1

    async def _send(self, granted: Granted, grants: Grants, lane: Meter) -> None:
        """Until the store has taken this part."""
        attempts = refusals = 0
        number = granted.part.number
        piece = self.cut.slice_of(self.source, granted.part)
        while True:
            if attempts and granted.has_expired:
                granted = await self._renew(grants, granted, "the signed request is about to expire")
            attempts += 1
            self.attempts += 1
            answer = await self.sender.send(granted.part.request, self.proof.watched(piece, number), lane)
            answer = self.proof.heard(answer, number)
            if 200 <= answer.status < 300:
                return
            if answer.status == 404:
                raise UploadVanished
            match answer.next:
                case Next.REPEAT if not self.retry.is_last(attempts):
                    delay = self.retry.delay(attempts, answer.retry_after)
                    lane.done_bytes = 0
                    self.place.voice.retrying(f"send part {number}", str(answer), delay, attempts)
                    await asyncio.sleep(delay.total_seconds())
                case Next.REMINT if refusals < MAX_REFUSALS:
                    refusals += 1
                    granted = await self._renew(grants, granted, f"the store says {answer}")
                case _:
                    raise _given_up(number, answer, attempts)

    async def _renew(self, grants: Grants, granted: Granted, why: str) -> Granted:
        self.place.voice.reminted(why)
        return await grants.renew(granted)


def _given_up(number: int, answer: Answer, attempts: int) -> UploaderError:
    if answer.next is Next.REPEAT:
        return Unreachable(f"the store does not take part {number} after {attempts} attempts; last: {answer}")
    return StoreRefused(f"the store refuses part {number}: {answer}")
