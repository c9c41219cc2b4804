"""Signatures are counted for all replicas together, in blocks, and refused before Google refuses them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import aiohttp
import pytest

from broker.clock import SystemClock
from broker.domain.errors import LedgerUnavailable, SigningQuotaExhausted
from broker.domain.principals import Rate
from broker.ledger.rates import MemoryRates
from broker.ports import Taken
from broker.storage.gcs.iam import IamCredentials
from broker.storage.gcs.impersonation import Impersonated
from broker.storage.gcs.quota import SigningQuota
from tests.clock import FrozenClock
from tests.unit.storage.gcs.iam_peer import Tokens, running_iam


@dataclass(slots=True, kw_only=True)
class Counted:
    """The memory ledger's rates, which take a moment and remember what they were asked."""

    rates: MemoryRates
    wanted: list[int] = field(default_factory=list)
    trouble: bool = False

    async def take(self, principal: str, rate: Rate, wanted: int) -> Taken:
        self.wanted.append(wanted)
        await asyncio.sleep(0)
        if self.trouble:
            raise LedgerUnavailable
        return await self.rates.take(principal, rate, wanted)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def rates(clock: FrozenClock) -> Counted:
    return Counted(rates=MemoryRates(clock))


def quota(rates: Counted, *, per_second: float = 800) -> SigningQuota:
    return SigningQuota(rates=rates, name="acme", per_second=per_second)


async def taken(*quotas: SigningQuota, times: int) -> int:
    """How many of `times` turns each were given, all asked for at the same time."""
    takes = [each.take() for each in quotas for _ in range(times)]
    results: Sequence[BaseException | None] = await asyncio.gather(*takes, return_exceptions=True)
    assert all(result is None or isinstance(result, SigningQuotaExhausted) for result in results)
    return sum(result is None for result in results)


async def test_a_turn_does_not_cost_a_round_trip(rates: Counted) -> None:
    one = quota(rates)
    for _ in range(100):
        await one.take()

    assert rates.wanted == [20] * 5


async def test_many_at_once_ask_together(rates: Counted) -> None:
    assert await taken(quota(rates), times=150) == 150
    assert len(rates.wanted) <= 2


async def test_replicas_together_stay_below_the_quota_of_a_minute(rates: Counted, clock: FrozenClock) -> None:
    """60,000 a minute; each of five replicas wants far more."""
    replicas = [quota(rates) for _ in range(5)]
    given = 0
    for _ in range(60):
        given += await taken(*replicas, times=400)
        clock.advance(timedelta(seconds=1))

    assert 47_000 <= given <= 52_100


async def test_on_exhaustion_it_is_said_when_there_is_another(rates: Counted, clock: FrozenClock) -> None:
    one = quota(rates, per_second=2)
    assert await taken(one, times=10) == 10

    with pytest.raises(SigningQuotaExhausted) as refusal:
        await one.take()

    assert refusal.value.retry_after == timedelta(milliseconds=500)
    clock.advance(refusal.value.retry_after)
    await one.take()


async def test_who_waited_for_a_refusal_does_not_ask_again(rates: Counted) -> None:
    one = quota(rates, per_second=2)
    await taken(one, times=10)
    rates.wanted.clear()

    assert await taken(one, times=200) == 0
    assert len(rates.wanted) <= 2


async def test_whoever_goes_away_takes_nobody_with_him(rates: Counted) -> None:
    one = quota(rates)
    first, second = asyncio.create_task(one.take()), asyncio.create_task(one.take())
    await asyncio.sleep(0)
    first.cancel()

    await asyncio.wait_for(second, 5)
    assert first.cancelled()


async def test_without_a_ledger_nothing_is_signed_and_afterwards_it_is(rates: Counted) -> None:
    one = quota(rates)
    rates.trouble = True
    with pytest.raises(LedgerUnavailable):
        await one.take()
    rates.trouble = False

    await one.take()


async def test_who_waited_for_a_ledger_that_is_away_does_not_wait_for_it_again(rates: Counted) -> None:
    """One after the other they would wait a timeout each: the last of a batch for minutes."""
    one = quota(rates)
    rates.trouble = True

    ended = await asyncio.gather(*(one.take() for _ in range(200)), return_exceptions=True)

    assert {type(each) for each in ended} == {LedgerUnavailable}
    assert len({id(each) for each in ended}) == 200
    assert len(rates.wanted) <= 2
    rates.trouble = False
    await one.take()


async def test_without_a_turn_google_is_not_asked(rates: Counted) -> None:
    async with running_iam() as iam, aiohttp.ClientSession() as http:
        client = IamCredentials(http=http, source=Tokens(), clock=SystemClock(), endpoint=iam.endpoint)
        writer = Impersonated(email="w@acme.test", iam=client, quota=quota(rates, per_second=1))
        for _ in range(5):
            await writer.sign(b"x")

        with pytest.raises(SigningQuotaExhausted):
            await writer.sign(b"x")

        assert len(iam.asked) == 5
