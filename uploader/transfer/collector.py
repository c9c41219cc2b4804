"""From sent to verified: the broker is told of many at a time, and asked again about those that it does not see yet.

A look is a HEAD at the store and half as dear as a small PUT. So while the store takes files it is asked now and then
only, to learn early if nothing is verified at all; the rest waits until all is sent, or until too many wait.
"""

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from broker.contract import State
from uploader.client import BrokerClient
from uploader.orders import REACHED, Wait
from uploader.standings import Told
from uploader.transfer.granting import Refusal, is_lost, refusal_of
from uploader.transfer.items import Unseen
from uploader.transfer.register import Register
from uploader.transfer.watch import Watch
from uploader.tree.rows import Row

LOOKERS = 3  # ours: calls at a time
BATCH_FILES = 200  # ours: what a broker looks at in well below its five seconds
RIPE_SECONDS = 0.1  # ours: so long is waited for more, to ask about them together
PATIENT_FILES = 10_000  # ours: so many may wait while others are sent; some 10 MB
PATIENCE = 4  # ours: times as long as a call took, before the next one while others are sent
BUSY_SECONDS = 0.5  # ours: a store that took nothing for so long has nothing better to do
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0


@dataclass(slots=True, kw_only=True)
class Collector:
    broker: BrokerClient
    register: Register
    watch: Watch
    wait: Wait
    timeout: timedelta
    notify: Callable[[str, str, timedelta, int], None]
    _fresh: deque[Unseen] = field(init=False, default_factory=deque)
    _later: list[tuple[float, int, Unseen]] = field(init=False, default_factory=list)
    _asked: int = field(init=False, default=0)
    _under_way: list[list[Unseen]] = field(init=False, default_factory=list)
    _quiet_until: float = field(init=False, default=0.0)

    def sent(self, row: Row, session_id: str, *, is_sure: bool = True, proved: str | None = None) -> None:
        """The store has it, or has had it.

        :param is_sure: it has said that it has taken these bytes: then who does not wait need not ask.
        :param proved: the digest by which it has these, and no others.
        """
        if self.wait == "none" and is_sure:
            self.register.sent(row)
        else:
            self._fresh.append(Unseen(row=row, session_id=session_id, sent_at=time.monotonic(), proved=proved))

    @property
    def _reached(self) -> frozenset[State]:
        return REACHED["verified" if self.wait == "none" else self.wait]

    def __len__(self) -> int:
        return len(self._fresh) + len(self._later) + sum(len(batch) for batch in self._under_way)

    def leave(self) -> None:
        """Nobody will ask any more in this run; the next one does."""
        asked = (unseen for batch in self._under_way for unseen in batch)
        for unseen in (*self._fresh, *asked, *(unseen for _, _, unseen in self._later)):
            self.register.note_sent(unseen.row)

    async def work(self) -> None:
        """One of those who ask, until the run stops."""
        while True:
            if self._is_patient and (self._under_way or time.monotonic() < self._quiet_until):
                await asyncio.sleep(RIPE_SECONDS / 4)
                continue
            began = time.monotonic()
            await self._work()
            self._quiet_until = time.monotonic() + (time.monotonic() - began) * PATIENCE

    @property
    def _is_patient(self) -> bool:
        """Others are being sent, and may be without being disturbed."""
        is_busy = time.monotonic() - self.watch.sent_at < BUSY_SECONDS
        return is_busy and len(self) < PATIENT_FILES and len(self) + len(self.register) < self.watch.held

    async def _work(self) -> None:
        batch = self._due()
        if not batch:
            await asyncio.sleep(RIPE_SECONDS / 4)
            return
        self._under_way.append(batch)  # and it stays there if nobody answers
        await self._ask(batch)
        self._under_way.remove(batch)

    def _due(self) -> list[Unseen]:
        now = time.monotonic()
        batch: list[Unseen] = []
        while self._later and self._later[0][0] <= now and len(batch) < BATCH_FILES:
            batch.append(heapq.heappop(self._later)[2])
        is_ripe = len(self._fresh) >= BATCH_FILES or len(self) + len(self.register) >= self.watch.held
        if self._fresh and (is_ripe or self._fresh[0].sent_at + RIPE_SECONDS <= now):
            batch += [self._fresh.popleft() for _ in range(min(len(self._fresh), BATCH_FILES - len(batch)))]
        return batch

    async def _ask(self, batch: Sequence[Unseen]) -> None:
        """Those that are verified already are not looked at again: a consumer is at work on them."""
        unlooked = [unseen for unseen in batch if not unseen.is_verified]
        looked = [unseen for unseen in batch if unseen.is_verified]  # before answers make more of them
        for some, ask in ((unlooked, self.broker.complete_many), (looked, self.broker.statuses)):
            if some:
                told = await ask([unseen.session_id for unseen in some], self.notify)
                for unseen, answer in zip(some, told, strict=True):
                    self._judge(unseen, answer)

    def judge(self, row: Row, session_id: str, told: Told) -> None:
        """What the broker said of a file that was sent some time."""
        self._judge(Unseen(row=row, session_id=session_id, sent_at=time.monotonic()), told)

    def _judge(self, unseen: Unseen, told: Told) -> None:
        row, session = unseen.row, told.session
        if session is None:
            self._missed(unseen, told)
        elif session.state in self._reached:
            self.register.verified(row, unseen.session_id, unseen.proved)
        elif is_lost(session.state):
            why = session.reason.message if session.reason else f"the session is {session.state.value}"
            self.register.lost(row, "session-lost", why)
        elif session.state is State.FAILED:
            why = session.reason.message if session.reason else "a consumer has given it up"
            self.register.failed(row, "session-lost", why, unseen.session_id, is_alive=False)
        else:
            unseen.is_verified = session.state is not State.PENDING
            self._again(unseen)

    def _missed(self, unseen: Unseen, told: Told) -> None:
        if told.problem is None or refusal_of(told.problem) is Refusal.LATER:
            self._again(unseen)
        else:
            self.register.lost(unseen.row, told.problem.code, told.problem.title)

    def _again(self, unseen: Unseen) -> None:
        if not unseen.is_noted:
            unseen.is_noted = True
            self.register.note_sent(unseen.row)
        now = time.monotonic()
        if now - unseen.sent_at >= self.timeout.total_seconds():
            self.register.late(unseen.row)
            return
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 1.6**unseen.asked)
        unseen.asked += 1
        self._asked += 1
        heapq.heappush(self._later, (now + pause, self._asked, unseen))
