"""Sends files that are in memory: a fixed number of workers, one request each, and no wait that holds a place.

A 2xx and a 412 ("it may be mine") both lead to the broker, whose HEAD decides.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from broker.contract import SignedRequest
from uploader.checksums import declared
from uploader.errors import ContentMismatch, StoreRefused, Unreachable
from uploader.retry import RetryPolicy
from uploader.sender import MAX_REFUSALS, Answer, Next
from uploader.transfer.collector import Collector
from uploader.transfer.gate import Gate
from uploader.transfer.items import Small
from uploader.transfer.line import Line
from uploader.transfer.meter import TreeMeter
from uploader.transfer.minter import Minter
from uploader.transfer.register import Register
from uploader.transfer.room import Room
from uploader.transfer.watch import Watch


class Lane(Protocol):
    """Sends bodies in memory."""

    async def send(self, request: SignedRequest, body: bytes) -> Answer:
        """The store's answer; status 0, with words that hold no URL, if there is none."""


@dataclass(slots=True, kw_only=True)
class SmallFiles:
    lane: Lane
    gate: Gate
    ready: Line[Small]
    minter: Minter
    register: Register
    collector: Collector
    watch: Watch
    meter: TreeMeter
    ahead: Room
    memory: Room
    retry: RetryPolicy

    async def work(self) -> None:
        """One worker, until the run stops."""
        while (item := await self.ready.get()) is not None:
            await self.gate.enter()
            answer = None
            try:
                answer = await self._send(item)
            finally:
                self.gate.leave(answer, len(item.body))
            if answer is not None:
                self._judge(item, answer)

    async def _send(self, item: Small) -> Answer | None:
        now = time.monotonic()
        if self.watch.is_stopping:
            self.register.released(item.row)
            return None
        if item.dies_at <= now:
            self.minter.again(item)
            return None
        assert item.request is not None  # noqa: S101 - it was granted
        item.attempts += 1
        item.begun_at = item.begun_at or now
        if item.attempts > 1:
            self.meter.resent_bytes += len(item.body)
        return await self.lane.send(item.request, item.body)

    def _judge(self, item: Small, answer: Answer) -> None:
        match answer.next:
            case Next.CONFIRM if _is_other(item, answer):
                self._drop(item)
                error = ContentMismatch("the store has other bytes than were sent", session_id=item.session_id)
                self.register.garbled(item.row, error)
            case Next.CONFIRM:
                self._done(item, answer)
            case Next.REMINT if self._may_renew(item):
                self.minter.again(item)
            case Next.REPEAT:
                self._repeat(item, answer)
            case _:
                self._refuse(item, StoreRefused(f"the store refuses the upload: {answer}"))

    def _may_renew(self, item: Small) -> bool:
        """A request that has expired on its way is no signature that the store does not take."""
        assert item.request is not None  # noqa: S101 - it was sent
        if item.request.expires_at <= datetime.now(UTC) and not self.retry.is_last(item.attempts):
            return True
        item.refusals += 1
        return item.refusals <= MAX_REFUSALS

    def _done(self, item: Small, answer: Answer) -> None:
        self.watch.took_bytes()
        self.meter.sent_files += 1
        self.meter.sent_bytes += len(item.body)
        self._drop(item)
        is_sure = answer.status != 412
        if is_sure and answer.md5 is None:
            self.minter.reading.needs_md5 = False  # this store names none: nothing to compare with
        self.collector.sent(item.row, item.session_id, is_sure=is_sure, proved=_proof(item, answer))

    def _repeat(self, item: Small, answer: Answer) -> None:
        if not self.retry.is_last(item.attempts):
            delay = self.retry.delay(item.attempts, answer.retry_after).total_seconds()
            asyncio.get_running_loop().call_later(delay, self.ready.put, (item,))
            return
        error = Unreachable(f"the store does not take it after {item.attempts} attempts; last: {answer}")
        if self.watch.sent_at > item.begun_at:
            self._fail(item, error.code, error.message)
        else:
            self.watch.stop(error)

    def _refuse(self, item: Small, error: StoreRefused) -> None:
        self._fail(item, error.code, error.message)
        self.watch.refused(error)

    def _fail(self, item: Small, code: str, message: str) -> None:
        self._drop(item)
        self.register.failed(item.row, code, message, item.session_id, is_alive=True)

    def _drop(self, item: Small) -> None:
        self.ahead.give(1)
        self.memory.give(len(item.body))
        item.body = b""  # for the worker has the item until it gets another one


def _proof(item: Small, answer: Answer) -> str | None:
    """The digest by which the store has these bytes: it names it, or refuses others than the declared ones."""
    if item.md5:
        return "md5" if answer.md5 == item.md5 else None
    return "+".join(declared(item.checksum)) or None


def _is_other(item: Small, answer: Answer) -> bool:
    """The store names the MD5 of what it has received, and it is not that of what was sent."""
    return bool(item.md5 and answer.md5 and 200 <= answer.status < 300 and answer.md5 != item.md5)
