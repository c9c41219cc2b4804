"""The gate lets in as many as the pace allows, in their order, and nobody's place gets lost."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.retry import LONGEST_RETRY_AFTER
from uploader.sender import Answer
from uploader.transfer.gate import Gate
from uploader.transfer.meter import TreeMeter

TAKEN = Answer(status=200, code="OK", message="")
BUSY = Answer(status=503, code="SlowDown", message="", retry_after=timedelta(seconds=0.2))


async def test_no_more_are_inside_than_the_limit() -> None:
    meter, most = TreeMeter(), 0
    gate = Gate(5, meter)

    async def work() -> None:
        nonlocal most
        for _ in range(50):
            await gate.enter()
            most = max(most, meter.concurrency)
            assert meter.concurrency <= meter.limit <= 5
            await asyncio.sleep(0)
            gate.leave(TAKEN, 4096)

    await asyncio.wait_for(asyncio.gather(*[work() for _ in range(20)]), 20)
    assert (most, meter.concurrency) == (5, 0)


async def test_who_comes_first_is_let_in_first() -> None:
    gate, order = Gate(1, TreeMeter()), []

    async def work(number: int) -> None:
        await gate.enter()
        order.append(number)
        await asyncio.sleep(0)
        gate.leave()

    await asyncio.wait_for(asyncio.gather(*[work(number) for number in range(9)]), 20)
    assert order == list(range(9))


async def test_a_storm_holds_everybody_for_as_long_as_the_store_says() -> None:
    meter = TreeMeter()
    gate = Gate(8, meter)
    for _ in range(8):
        await gate.enter()
    began = asyncio.get_running_loop().time()
    for _ in range(8):
        gate.leave(BUSY)
    assert meter.limit == 4
    await asyncio.wait_for(gate.enter(), 20)
    assert asyncio.get_running_loop().time() - began >= 0.2
    gate.leave(TAKEN)
    assert meter.concurrency == 0


async def test_a_store_that_asks_for_a_day_does_not_get_it() -> None:
    meter, loop = TreeMeter(), asyncio.get_running_loop()
    gate = Gate(8, meter)
    for _ in range(8):
        await gate.enter()
    for _ in range(8):
        gate.leave(Answer(status=503, code="SlowDown", message="", retry_after=timedelta(days=1)))
    assert loop.time() < gate.held_until <= loop.time() + LONGEST_RETRY_AFTER.total_seconds()


@pytest.mark.parametrize("is_let_in", [True, False])
async def test_who_gives_up_waiting_leaves_no_gap(is_let_in: bool) -> None:
    meter = TreeMeter()
    gate = Gate(1, meter)
    await gate.enter()
    waiting = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    if is_let_in:
        gate.leave()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    if not is_let_in:
        gate.leave()
    assert meter.concurrency == 0
    await asyncio.wait_for(gate.enter(), 20)


@given(st.lists(st.sampled_from(["come", "leave", "refused", "give-up"]), max_size=120))
def test_whatever_happens_the_books_are_right(steps: list[str]) -> None:
    async def scenario() -> None:
        meter = TreeMeter()
        gate = Gate(3, meter)
        comers: list[asyncio.Task[None]] = []
        inside = 0
        for step in steps:
            if step == "come":
                comers.append(asyncio.create_task(gate.enter()))
            elif step == "give-up" and comers:
                comers.pop().cancel()
            elif inside and step in {"leave", "refused"}:
                inside -= 1
                gate.leave(TAKEN if step == "leave" else Answer(status=503, code="", message=""))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            inside += sum(each.done() for each in comers)
            comers = [each for each in comers if not each.done()]
            assert inside == meter.concurrency
            assert not comers or meter.concurrency >= meter.limit
        for each in comers:
            each.cancel()
        await asyncio.gather(*comers, return_exceptions=True)

    asyncio.run(scenario())
