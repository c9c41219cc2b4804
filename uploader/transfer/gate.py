"""The limit of requests to the store that are under way, for small files and parts alike; `Pace` moves it."""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import timedelta

from uploader.retry import LONGEST_RETRY_AFTER
from uploader.sender import Answer
from uploader.transfer.meter import TreeMeter
from uploader.transfer.pace import Pace

TOO_MUCH = frozenset({0, 429, 503})  # what a store answers, or does not, that has too much to do


class Gate:
    """Whoever sends a request goes in before, and comes out with its answer.

    :param jobs: the most that may ever be inside.
    :param slowed: told why there are fewer now, and how many.
    """

    def __init__(self, jobs: int, meter: TreeMeter, slowed: Callable[[str, int], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._pace = Pace(jobs, self._loop.time())
        self._meter = meter
        self._slowed = slowed
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._held: asyncio.TimerHandle | None = None
        meter.limit = self._pace.limit

    @property
    def held_until(self) -> float:
        """Nobody is let in before, on the loop's clock."""
        return self._pace.held_until

    async def enter(self) -> None:
        """In the order in which they came."""
        if not self._waiting and self._is_free():
            self._meter.concurrency += 1
            return
        turn = self._loop.create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._out()  # it was let in, and has gone
            raise

    def leave(self, answer: Answer | None = None, size_bytes: int = 0) -> None:
        """
        :param answer: none where there was no request after all, or it was broken off.
        """
        if answer is not None:
            self._learn(answer, size_bytes)
        self._out()

    def _learn(self, answer: Answer, size_bytes: int) -> None:
        now, is_full = self._loop.time(), bool(self._waiting)
        if 200 <= answer.status < 300 or answer.status == 412:
            self._pace.took(size_bytes, now, is_full=is_full)
        elif answer.status in TOO_MUCH:
            after = min(answer.retry_after or timedelta(), LONGEST_RETRY_AFTER)
            self._pace.refused(after.total_seconds(), now, is_full=is_full)
            if self._slowed is not None and self._pace.limit < self._meter.limit:
                self._slowed(str(answer), self._pace.limit)
        self._meter.limit = self._pace.limit
        if self._pace.held_until > now and self._held is None:
            self._held = self._loop.call_at(self._pace.held_until, self._go_on)

    def _out(self) -> None:
        self._meter.concurrency -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._is_free():
            turn = self._waiting.popleft()
            if not turn.done():
                self._meter.concurrency += 1
                turn.set_result(None)

    def _is_free(self) -> bool:
        return self._held is None and self._meter.concurrency < self._pace.limit

    def _go_on(self) -> None:
        self._held = None
        if (until := self._pace.held_until) > self._loop.time():  # the store has asked for more meanwhile
            self._held = self._loop.call_at(until, self._go_on)
        self._admit()
