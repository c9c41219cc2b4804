"""`Rates`: so many a second and so many at once, for all processes together."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from broker.domain.principals import Rate
from broker.ports import Ledger, Rates, Taken

SLOW = Rate(per_second=0.01, burst=10)  # what a test takes is not given back while it runs
EACH = timedelta(seconds=100)


def rates_of(ledger: Ledger) -> Rates:
    found: Any = ledger
    return found.rates  # type: ignore[no-any-return]


@pytest.fixture
def rates(ledger: Ledger) -> Rates:
    return rates_of(ledger)


async def test_a_burst_at_once_and_then_one_after_another(rates: Rates) -> None:
    for left in range(SLOW.burst, 0, -1):
        taken = await rates.take("app", SLOW, 1)
        assert taken.count == 1
        assert (taken.next_after > timedelta()) == (left == 1)
    refused = await rates.take("app", SLOW, 1)
    assert refused.count == 0
    assert EACH - timedelta(seconds=5) < refused.next_after <= EACH


async def test_of_many_wanted_at_once_as_many_are_given_as_there_are(rates: Rates) -> None:
    assert (await rates.take("app", SLOW, 4)).count == 4
    assert (await rates.take("app", SLOW, 100)).count == 6
    assert (await rates.take("app", SLOW, 100)).count == 0


async def test_a_refusal_takes_nothing(rates: Rates) -> None:
    await rates.take("app", SLOW, 10)
    waits = [(await rates.take("app", SLOW, 5)).next_after for _ in range(20)]
    assert waits == sorted(waits, reverse=True)
    assert waits[0] <= EACH


async def test_nobody_takes_from_another(rates: Rates) -> None:
    for principal in ("app", "app2", "a" * 64):
        assert (await rates.take(principal, SLOW, 100)).count == 10


async def test_many_at_once_over_two_processes_get_exactly_the_burst(ledger: Ledger, other: Ledger) -> None:
    sides = (rates_of(ledger), rates_of(other))
    taken = await asyncio.gather(*(sides[number % 2].take("app", SLOW, 1) for number in range(200)))
    assert sum(each.count for each in taken) == SLOW.burst


@pytest.mark.parametrize("burst", [1, 3])
async def test_who_waits_as_long_as_told_gets_the_next_one(rates: Rates, burst: int) -> None:
    rate = Rate(per_second=20, burst=burst)
    start, given = time.monotonic(), 0
    while given < burst + 6:
        taken = await rates.take("app", rate, 1)
        given += taken.count
        await asyncio.sleep(taken.next_after.total_seconds() + 0.002)
    # The first come at once; each further one after a twentieth of a second, never sooner.
    assert (given - burst) / 20 - 0.02 < time.monotonic() - start < 5


async def test_what_was_not_used_is_not_saved_up_beyond_the_burst(rates: Rates) -> None:
    rate = Rate(per_second=1_000, burst=5)
    assert (await rates.take("app", rate, 5)).count == 5
    await asyncio.sleep(0.05)
    assert (await rates.take("app", rate, 1_000)).count == 5


async def test_a_new_rate_holds_at_once(rates: Rates) -> None:
    await rates.take("app", SLOW, 10)
    faster = Rate(per_second=1_000, burst=2)
    taken = await rates.take("app", faster, 2)
    assert taken == Taken(count=0, next_after=taken.next_after)
    assert taken.next_after <= timedelta(milliseconds=1)
