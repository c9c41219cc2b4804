"""The looker: it lives whatever happens, keeps stores out of each other's way, and ends what it began."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace as with_port
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from broker.contract import State
from broker.domain.errors import LedgerUnavailable
from broker.ports import DueLook
from broker.workers.bells import LocalBell
from broker.workers.looker import CROWDED, HOLD, LONGEST_NAP, SHORTEST_NAP, Looker
from tests.memory_bucket import MemoryBucket
from tests.unit.services.house import PLACE, House, request_of

SOON = 5  # seconds of real time that no step here takes


async def until(is_so: Callable[[], bool]) -> None:
    """Lets everybody else go on until `is_so`."""
    async with asyncio.timeout(SOON):
        while not is_so():  # noqa: ASYNC110 - each turn lets the looker go on; nobody would set an event
            await asyncio.sleep(0)


async def settles(house: House, count: int, *, each_turn: Callable[[], object] = lambda: None) -> None:
    """Lets everybody else go on until so many are verified."""
    async with asyncio.timeout(SOON):
        while await settled(house) < count:
            each_turn()
            await asyncio.sleep(0)
    assert await settled(house) == count


@asynccontextmanager
async def running(house: House, **changes: Any) -> AsyncIterator[Looker]:
    wired = {"looks": house.look.looks, "look": house.look, "clock": house.clock, "due": house.due}
    values = {**wired, "stores": len(house.buckets), **changes}
    looker = Looker(**values)
    task = asyncio.create_task(looker.run())
    try:
        yield looker
    finally:
        task.cancel()
        async with asyncio.timeout(SOON):
            await asyncio.gather(task, return_exceptions=True)


class Slow:
    """A store whose HEADs wait for a test to let them go."""

    def __init__(self, bucket: MemoryBucket) -> None:
        self.gate = asyncio.Event()
        self.now = self.most = self.begun = 0
        bucket.before_head = self._wait

    async def _wait(self) -> None:
        self.now += 1
        self.begun += 1
        self.most = max(self.most, self.now)
        try:
            async with asyncio.timeout(SOON):
                await self.gate.wait()
        finally:
            self.now -= 1


async def sent(house: House, count: int) -> list[str]:
    ids = []
    for _ in range(count):
        minted = await house.minted()
        house.sent(minted)
        await house.event(minted.session.facts.key)
        ids.append(minted.session.id)
    return ids


async def settled(house: House) -> int:
    return (await house.states()).count(State.VERIFIED)


async def test_what_is_due_is_looked_at_without_anybody_ringing() -> None:
    house = House()
    await sent(house, 20)
    async with running(house, due=LocalBell()):
        await settles(house, 20)


async def test_a_bell_wakes_it_at_once() -> None:
    house = House()
    async with running(house):
        await asyncio.sleep(0)
        await sent(house, 1)
        await settles(house, 1)


async def test_looks_at_one_store_are_bounded_and_all_of_them_end() -> None:
    house = House()
    slow = Slow(house.bucket)
    await sent(house, 12)
    async with running(house, concurrency=5, per_destination=3):
        await until(lambda: slow.now == 3)
        slow.gate.set()
        await settles(house, 12)
    assert slow.most == 3


async def test_a_slow_store_does_not_keep_looks_at_another_out() -> None:
    house = House()
    slow = Slow(house.bucket)
    quick = MemoryBucket(clock=house.clock)
    place = replace(PLACE, name="quick", prefix="quick")
    await sent(house, 30)
    house.buckets["quick"] = quick.as_bucket(place)
    minted = await house.minted(destination="quick")
    quick.send(request_of(minted.upload))
    await house.ledger.hint(minted.session.id, None, now=house.clock.now() + timedelta(milliseconds=1))
    house.clock.advance(timedelta(milliseconds=1))
    async with running(house, concurrency=8, per_destination=4):
        await settles(house, 1)
        assert (await house.session(minted.session.id)).state is State.VERIFIED
        assert slow.now == 4
        slow.gate.set()
        await settles(house, 31, each_turn=lambda: house.clock.advance(CROWDED))  # what was put off comes back
    assert slow.most == 4


class Failing:
    """Looks of a ledger that is away for a while."""

    def __init__(self, looks: Any, *troubles: Exception) -> None:
        self._looks, self._troubles = looks, [*troubles]

    async def claim(self, limit: int, **when: Any) -> list[DueLook]:
        if self._troubles:
            raise self._troubles.pop()
        claimed: list[DueLook] = await self._looks.claim(limit, **when)
        return claimed


@pytest.mark.parametrize("trouble", [LedgerUnavailable(), RuntimeError("a bug")], ids=["ledger", "bug"])
async def test_it_outlives_a_ledger_that_is_away(trouble: Exception, caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    await sent(house, 1)
    async with running(house, looks=Failing(house.look.looks, trouble, trouble)):
        await settles(house, 1)
    assert len([record for record in caplog.records if record.name == "broker.looker"]) == 2


async def test_one_look_that_stumbles_spoils_no_other_and_comes_back() -> None:
    house = House()
    ids = await sent(house, 5)
    broken = [ids[2]]

    class Stumbling:
        async def head(self, key: str) -> object:
            if broken and broken[0] in key:
                raise RuntimeError("a bug")
            return await house.bucket.head(key)

    house.buckets["default"] = with_port(house.buckets["default"], objects=Stumbling())
    async with running(house):
        await settles(house, 4)
        broken.clear()
        house.clock.advance(HOLD)
        house.due.ring()
        await settles(house, 5)


async def test_a_look_that_is_on_its_way_ends_when_the_looker_is_told_to() -> None:
    house = House()
    slow = Slow(house.bucket)
    await sent(house, 1)
    async with running(house):
        await until(lambda: slow.now == 1)
        asyncio.get_running_loop().call_later(0.05, slow.gate.set)
    assert await settled(house) == 1


async def test_a_look_that_hangs_is_cut_off_and_comes_back_to_the_next_looker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.workers.in_flight.DRAIN", timedelta(milliseconds=20))
    house = House()
    slow = Slow(house.bucket)
    await sent(house, 3)
    async with running(house, per_destination=2):
        await until(lambda: slow.now == 2)
    assert slow.now == 0
    assert await settled(house) == 0
    slow.gate.set()
    house.clock.advance(HOLD)
    async with running(house):
        await settles(house, 3)


async def test_two_lookers_share_the_work_and_settle_each_once() -> None:
    house = House()
    ids = await sent(house, 40)
    async with running(house, due=LocalBell()), running(house, due=LocalBell()):
        await settles(house, 40)
    assert sorted(event.id for event in await house.events() if event.state is State.VERIFIED) == sorted(ids)


# --- the bell


async def test_a_ring_that_nobody_waits_for_is_remembered_once() -> None:
    bell = LocalBell()
    bell.ring()
    bell.ring()
    async with asyncio.timeout(SOON):
        await bell.wait(timedelta(minutes=1))
    async with asyncio.timeout(SOON):
        await bell.wait(timedelta(milliseconds=1))


async def test_a_ring_wakes_everybody_who_waits() -> None:
    bell = LocalBell()
    waiting = [asyncio.create_task(bell.wait(timedelta(minutes=1))) for _ in range(3)]
    await asyncio.sleep(0)
    bell.ring()
    async with asyncio.timeout(SOON):
        await asyncio.gather(*waiting)


class Naps:
    """A bell that nobody rings: notes how long the looker would wait, and waits no longer than others need."""

    def __init__(self) -> None:
        self.taken: list[timedelta] = []

    async def wait(self, timeout: timedelta) -> None:
        self.taken.append(timeout)
        await asyncio.sleep(0)

    def ring(self) -> None: ...


async def test_it_asks_often_while_there_is_work_and_seldom_when_there_is_none() -> None:
    house, naps = House(), Naps()
    async with running(house, due=naps):
        await until(lambda: len(naps.taken) >= 4)
        idle = len(naps.taken)
        await sent(house, 1)
        await settles(house, 1)
        await until(lambda: SHORTEST_NAP in naps.taken[idle:] and naps.taken[-1] == LONGEST_NAP)
    assert naps.taken[:4] == [SHORTEST_NAP, 2 * SHORTEST_NAP, LONGEST_NAP, LONGEST_NAP]
