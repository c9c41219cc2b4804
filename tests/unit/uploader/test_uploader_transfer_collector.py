"""When the broker is told of what was sent: now and then while others are sent, at once when none are."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

from broker.contract import State
from uploader import events
from uploader.standings import Standing, Told
from uploader.transfer.collector import BATCH_FILES, LOOKERS, PATIENT_FILES, Collector
from uploader.transfer.meter import TreeMeter
from uploader.transfer.register import Register
from uploader.transfer.watch import Watch
from uploader.tree.rows import Row
from uploader.tree.states import FileState

ANSWER_SECONDS = 0.02
WAIT_SECONDS = 30


@dataclass(slots=True)
class Looking:
    """A broker that finds everything, after a while."""

    under_way: int = 0
    most: int = 0
    asked: list[str] = field(default_factory=list)

    async def complete_many(self, ids: Sequence[str], _: object) -> list[Told]:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(ANSWER_SECONDS)
        self.under_way -= 1
        self.asked += ids
        return [Told(session=Standing(id=each, state=State.VERIFIED), is_looked_at=True) for each in ids]

    async def statuses(self, ids: Sequence[str], _: object) -> list[Told]:
        raise AssertionError(f"nobody has to ask where {len(ids)} verified files stand")


@dataclass(slots=True, kw_only=True)
class Collecting:
    """One that is at work, of `held` files that somebody has in his hands."""

    looking: Looking
    watch: Watch
    collector: Collector

    def sent(self, number: int) -> None:
        for each in range(number):
            self.watch.took_bytes()
            self.collector.sent(_row(each), f"session-{each}")

    async def asked(self, number: int, *, others_are_sent: bool = True) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.looking.asked) < number:
                if others_are_sent:
                    self.watch.took_bytes()
                await asyncio.sleep(ANSWER_SECONDS / 4)


@asynccontextmanager
async def collecting(held: int) -> AsyncIterator[Collecting]:
    looking, watch = Looking(), Watch()
    watch.took(held)
    steps: Any = None  # nothing is flushed here
    collector = Collector(
        broker=cast("Any", looking),
        register=Register(steps, watch, TreeMeter(), events.SilentTree()),
        watch=watch,
        wait="verified",
        timeout=timedelta(minutes=1),
        notify=lambda *_: None,
    )
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(collector.work()) for _ in range(LOOKERS)]
        yield Collecting(looking=looking, watch=watch, collector=collector)
        for task in tasks:
            task.cancel()


def _row(number: int) -> Row:
    return Row(
        id=number,
        root=b"/r",
        path=b"%d" % number,
        size_bytes=1,
        mtime_ns=0,
        mode=0o644,
        state=FileState.MINTED,
        revision=1,
        checksum=None,
        session_id=None,
        attempts=0,
        error_code=None,
        error_message=None,
        gone_ms=None,
        updated_ms=0,
    )


async def test_while_others_are_sent_one_call_at_a_time_tells_of_some() -> None:
    async with collecting(held=20 * BATCH_FILES) as run:
        run.sent(10 * BATCH_FILES)
        await run.asked(3 * BATCH_FILES)
        assert run.looking.most == 1
        assert len(run.collector) > 0


async def test_once_all_is_sent_several_calls_at_a_time_tell_of_the_rest() -> None:
    async with collecting(held=10 * BATCH_FILES) as run:
        run.sent(10 * BATCH_FILES)
        await run.asked(10 * BATCH_FILES)
        assert run.looking.most == LOOKERS
        assert sorted(run.looking.asked) == sorted(f"session-{each}" for each in range(10 * BATCH_FILES))


async def test_not_more_than_so_many_wait_however_many_are_sent() -> None:
    async with collecting(held=3 * PATIENT_FILES) as run:
        run.sent(PATIENT_FILES + 10 * BATCH_FILES)
        await run.asked(5 * BATCH_FILES)
        assert run.looking.most == LOOKERS


async def test_a_store_that_takes_nothing_keeps_nobody_waiting() -> None:
    async with collecting(held=20 * BATCH_FILES) as run:
        run.sent(10 * BATCH_FILES)
        await run.asked(10 * BATCH_FILES, others_are_sent=False)
        assert run.looking.most == LOOKERS
