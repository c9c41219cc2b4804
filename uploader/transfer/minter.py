"""Keeps granted files ahead of those who send: takes rows, reads the small ones, mints them in batches.

A few do so side by side, so that one batch is read while another is minted. The manifest knows a session before the
first byte leaves for it, so that whoever comes after a process that died knows where something may be.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from broker.contract import Problem, PutUpload, SignedRequest, State
from uploader.client import BrokerClient
from uploader.errors import Unreachable
from uploader.retry import RetryPolicy
from uploader.sender import EXPIRY_MARGIN
from uploader.source import SMALL_FILE_BYTES
from uploader.transfer.collector import Collector
from uploader.transfer.declaring import Declaring, noted
from uploader.transfer.granting import (
    Granted,
    GrantedOrProblem,
    Grants,
    Refusal,
    are_about,
    is_lost,
    of_file,
    refusal_of,
)
from uploader.transfer.items import Small
from uploader.transfer.line import Line
from uploader.transfer.reading import Changed, Read, Reading, Unreadable, digests
from uploader.transfer.register import Register
from uploader.transfer.room import Room
from uploader.transfer.steps import Steps
from uploader.transfer.watch import Watch
from uploader.tree.rows import Minted, Row

BATCH_FILES = 200  # ours: what a broker signs in some 30 ms
MINTERS = 3  # ours: one reads, one waits for the broker, one for the disk
FILES_AHEAD = 2_000  # ours: taken and not sent yet
FILES_UNSEEN = 20_000  # ours: sent, and not looked at yet; some 10 MB of them
IDLE_SECONDS = 0.05  # while the scan goes on and has found nothing yet


@dataclass(slots=True, kw_only=True)
class Minter:
    """
    :ivar ready: where granted files go.
    :ivar large: where files go that are not read into memory, each to be minted by whoever sends it.
    :ivar ahead: room for files; whoever has sent one gives its place back. `memory`: for their bodies.
    """

    steps: Steps
    broker: BrokerClient
    declaring: Declaring
    reading: Reading
    register: Register
    collector: Collector
    watch: Watch
    ready: Line[Small]
    large: Line[Row]
    ahead: Room
    memory: Room
    executor: Executor
    retry: RetryPolicy
    notify: Callable[[str, str, timedelta, int], None]
    takes_small: bool
    _rows: deque[Row] = field(init=False, default_factory=deque)
    _again: Line[Small] = field(init=False, default_factory=Line)
    _granted_at: float = field(init=False, default=0.0)
    _taking: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    async def run(self) -> None:
        """One of them. It ends when all files are at rest and no more are to come."""
        while True:
            async with self._taking:
                rows = await self._next()
            if not rows:
                return
            await self._mint(await self._read(rows))

    async def renew(self) -> None:
        """Another request, by the same key, for files whose request was of no use, until the run stops. Apart from the
        others, who may be waiting for the very room that these files take up."""
        while (first := await self._again.get()) is not None:
            await self._mint([first, *self._again.drain(BATCH_FILES - 1)])

    def again(self, item: Small, delay_seconds: float = 0.0) -> None:
        """Its request is of no use."""
        if delay_seconds:
            asyncio.get_running_loop().call_later(delay_seconds, self.again, item)
        else:
            self._again.put((item,))

    def close(self) -> list[Small]:
        """Nobody is to renew anything any more; what is left."""
        return self._again.close()

    async def _next(self) -> list[Row]:
        """The next files to read; none at the end."""
        while not self._rows:
            if len(self.collector) >= FILES_UNSEEN:
                await self.watch.stirring(IDLE_SECONDS)
                continue
            is_last = self.watch.is_scanned and self.watch.held == 0
            if not await self._take():
                if is_last and self.watch.held == 0:
                    return []
                await self.watch.stirring(IDLE_SECONDS)
        return await self._chunk()

    async def _take(self) -> bool:
        """Whether there was something."""
        await self.ahead.take(BATCH_FILES)
        taken = await self.steps.take(BATCH_FILES)
        self.ahead.give(BATCH_FILES - len(taken))
        self.watch.took(len(taken))
        large: list[Row] = []
        for row in taken:
            is_small = self.takes_small and row.size_bytes <= SMALL_FILE_BYTES
            (self._rows if is_small else large).append(row)
        self.large.put(large)
        return bool(taken)

    async def _chunk(self) -> list[Row]:
        """As many as there is memory for, in one batch."""
        rows: list[Row] = []
        share = self.memory.size // MINTERS
        while self._rows and len(rows) < BATCH_FILES:
            if rows and share < self._rows[0].size_bytes:
                break
            row = self._rows.popleft()
            share -= row.size_bytes
            rows.append(row)
        await self.memory.take(sum(row.size_bytes for row in rows))
        return rows

    async def _read(self, rows: Sequence[Row]) -> list[Small]:
        read = await asyncio.get_running_loop().run_in_executor(self.executor, self.reading.read, rows)
        return [each for each in read if self._is_small(each)]  # type: ignore[misc]

    def _is_small(self, read: Read) -> bool:
        if isinstance(read, Small):
            return True
        self._drop(read.row)
        if isinstance(read, Changed):
            self.register.changed(read.row)
        elif isinstance(read, Unreadable):
            self.register.failed(read.row, "file-unusable", read.message, read.row.session_id, is_alive=True)
        return False

    async def _mint(self, batch: Sequence[Small]) -> None:
        if not batch:
            return
        items = [self.declaring.item(item.row, item.checksum) for item in batch]
        answers = (await self.broker.mint_many(items, self.notify, Grants)).sessions
        if not are_about(answers, items):
            raise Unreachable("the broker's answer is not about the files that it was asked for")
        granted = [pair for pair in zip(batch, answers, strict=True) if self._is_granted(*pair)]
        await self.steps.minted([_minted(item) for item, _ in granted])
        now, today = time.monotonic(), datetime.now(UTC)
        self.ready.put([item for item, answer in granted if self._is_ready(item, answer, now, today)])

    def _is_granted(self, item: Small, answer: GrantedOrProblem) -> bool:
        """Whether it has a session that is of use."""
        if answer.problem:
            self._refused(item, answer.problem)
            return False
        session = answer.session
        if not session:
            raise Unreachable("the broker's answer holds neither a session nor a problem")
        if is_lost(session.state):
            self._drop(item.row)
            why = session.reason.message if session.reason else f"the session is {session.state.value}"
            self.register.lost(item.row, "session-lost", why)
            return False
        item.session_id = session.id
        self._granted_at = time.monotonic()
        return True

    def _is_ready(self, item: Small, answer: GrantedOrProblem, now: float, today: datetime) -> bool:
        """Whether it is to be sent by one request."""
        session = answer.session
        assert isinstance(session, Granted)  # noqa: S101 - it was granted
        if session.state is not State.PENDING:
            self._drop(item.row)
            self.collector.sent(item.row, session.id)
        elif isinstance(session.upload, PutUpload):
            self.declaring.learn(item.checksum, is_proved=session.is_proved)
            if session.is_proved:
                self.reading.needs_md5, item.md5 = False, b""
            item.request = session.upload.request
            item.dies_at = now + _lifetime(item.request, today)
            return True
        elif session.upload:
            self.memory.give(item.row.size_bytes)
            self.large.put([item.row])
        else:
            self._later(item, session.reason.message if session.reason else "the broker gives no request")
        return False

    def _refused(self, item: Small, problem: Problem) -> None:
        refusal = refusal_of(problem)
        error = of_file(problem)
        if self.declaring.may_declare_more(problem, item.checksum):
            wanted = self.declaring.algorithms(len(item.body))
            item.checksum, item.md5 = digests(item.body, wanted, needs_md5=True)
            self.again(item)
            return
        if refusal is Refusal.LATER:
            self._later(item, error.message)
            return
        if refusal is Refusal.RUN:
            self.watch.stop(error)
            return
        self._drop(item.row)
        if refusal is Refusal.KEY:
            self.register.redeclared(item.row, error)
        else:
            self.register.failed(item.row, error.code, error.message, is_alive=False)

    def _later(self, item: Small, why: str) -> None:
        """A broker that has requests for others, but not for all that want one, is not away: a key's rate, a quota."""
        item.delays += 1
        item.fruitless = 1 if self._granted_at > item.delayed_at else item.fruitless + 1
        item.delayed_at = time.monotonic()
        if not self.retry.is_last(item.fruitless):
            self.again(item, self.retry.delay(item.delays).total_seconds())
            return
        error = Unreachable(f"the broker gives no request after {item.delays} attempts; last: {why}")
        self.watch.stop(error)

    def _drop(self, row: Row) -> None:
        """It is nobody's in here any more."""
        self.ahead.give(1)
        self.memory.give(row.size_bytes)


def _minted(item: Small) -> Minted:
    row = item.row
    return Minted(id=row.id, revision=row.revision, session_id=item.session_id, checksum=noted(item.checksum))


def _lifetime(request: SignedRequest, today: datetime) -> float:
    """Seconds. With a clock that is fast every request seems dead on arrival: such ones are for the store to judge.
    Of one that lives for seconds only half is given up."""
    left, margin = (request.expires_at - today).total_seconds(), EXPIRY_MARGIN.total_seconds()
    return max(left - margin, left / 2) if left > 0 else math.inf
