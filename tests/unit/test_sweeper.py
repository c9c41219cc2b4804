"""The sweeper lives on, whatever a pass came to, and is soon back where one was refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from broker.domain.errors import StoreMismatch, StoreUnavailable
from broker.ports import Bucket
from broker.services.broom import Broom
from broker.services.sweep import AT_MOST
from broker.services.sweep_report import SweepReport
from broker.workers import sweeper as module
from broker.workers.sweeper import Sweeper
from tests.unit.services.house import House
from tests.unit.services.test_sweep import aborted_with_late_bytes, opened

HOUR = timedelta(hours=1)


class Passes:
    """Sleeps that take no time; the last one never ends. What was slept, and what was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self.slept: list[float] = []
        self.told: list[SweepReport] = []
        self.are_over = asyncio.Event()
        self._count = count
        monkeypatch.setattr(module.asyncio, "sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) == self._count:
            self.are_over.set()
            await asyncio.Event().wait()

    @asynccontextmanager
    async def of(self, house: House, broom: Broom | None, **more: object) -> AsyncIterator[None]:
        sweeper = Sweeper(
            sweep=more.get("sweep", house.sweep),  # type: ignore[arg-type]
            broom=broom,
            buckets=[*house.buckets.values()],
            every=HOUR,
            tell=self.told.append,
        )
        task = asyncio.create_task(sweeper.run())
        async with asyncio.timeout(10):
            await self.are_over.wait()
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_every_pass_is_told_and_the_next_one_comes_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    house = await opened()
    await aborted_with_late_bytes(house)
    passes = Passes(monkeypatch, 3)
    async with passes.of(house, house.broom):
        assert passes.slept == [3_600, 3_600, 3_600]
        assert [report.removed.objects for report in passes.told] == [1, 0, 0]


async def test_without_a_broom_it_only_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    house = await opened()
    await aborted_with_late_bytes(house)
    passes = Passes(monkeypatch, 2)
    async with passes.of(house, None):
        assert [report.removable.objects for report in passes.told] == [1, 1]
        assert house.bucket.removed == []


async def test_a_pass_that_is_refused_is_tried_again_soon(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At a first start nobody has marked the stores yet."""
    house = House()
    passes = Passes(monkeypatch, 2)
    async with passes.of(house, house.broom):
        assert passes.slept == [60, 60]
        assert passes.told == []
    assert "sweep.refused" in caplog.messages


@pytest.mark.parametrize("trouble", [StoreUnavailable(), StoreMismatch(), RuntimeError("a bug")])
async def test_it_survives_whatever_a_pass_raises(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: Exception
) -> None:
    house = await opened()
    troubles = [trouble]

    async def sweep(bucket: Bucket, broom: Broom | None, *, at_most: float = AT_MOST) -> SweepReport:
        if troubles:
            raise troubles.pop()
        return await house.sweep(bucket, broom, at_most=at_most)

    passes = Passes(monkeypatch, 2)
    async with passes.of(house, house.broom, sweep=sweep):
        assert passes.slept == [60, 3_600]
        assert len(passes.told) == 1
    assert {"sweep.refused", "sweep.stumbled"} & {*caplog.messages}


async def test_a_pass_that_stopped_is_told_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house = await opened()
    await aborted_with_late_bytes(house, 11)
    passes = Passes(monkeypatch, 1)
    async with passes.of(house, house.broom):
        assert passes.told[0].stopped is not None
    assert "sweep.stopped" in caplog.messages
    assert house.bucket.removed == []
