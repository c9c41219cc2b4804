"""The relay: it lives whatever happens, keeps webhooks out of each other's way, and ends what it began."""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import pytest

from broker.contract import State
from broker.domain.errors import LedgerUnavailable
from broker.domain.webhooks import LONGEST_PAUSE, Outcome, Webhook, key_in
from broker.outbound.http import open_sender
from broker.services.tell import FanOut, Tell
from broker.telemetry.metrics import TOLD, Metrics
from broker.telemetry.webhooks import CountedDeliveries
from broker.workers.bells import Chime, LocalBell
from broker.workers.relay import MARGIN, Relay, Teller
from tests.unit.services.house import House
from tests.webhook_receiver import SOON, Receiver, answering, hang, receiving

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
TIMEOUT = timedelta(seconds=2)


class Relays:
    """Tellers over the house's ledger, each with a sender and a receiver of its own."""

    def __init__(self, house: House, stack: AsyncExitStack) -> None:
        self.house, self.stack, self.news = house, stack, Chime()
        self.hooks: Any = house.ledger.webhooks
        self.tellers: list[Teller] = []

    async def teller(self, name: str, receiver: Receiver, *, places: int = 4, hooks: Any = None) -> Teller:
        clock, hooks = self.house.clock, hooks or self.hooks
        connecting = open_sender(receiver.url, allow_private=True, timeout=TIMEOUT, connections=places, clock=clock)
        sender = await self.stack.enter_async_context(connecting)
        webhook = Webhook(name=name, keys=(key_in(SECRET),))
        for shard in range(self.house.ledger.shards):
            await self.hooks.cursor(shard, name)
        self.tellers.append(
            Teller(
                fan_out=FanOut(events=self.house.ledger, sessions=self.house.ledger, outbox=hooks, clock=clock),
                tell=Tell(webhook=webhook, sender=sender, deliveries=hooks, clock=clock, timeout=TIMEOUT),
                deliveries=hooks,
                clock=clock,
                shards=self.house.ledger.shards,
                news=self.news.bell(),
                bell=LocalBell(),
                places=places,
            )
        )
        return self.tellers[-1]


@pytest.fixture
async def relays() -> AsyncIterator[Relays]:
    async with AsyncExitStack() as stack:
        yield Relays(House(shards=2), stack)


@asynccontextmanager
async def running(tellers: Sequence[Teller]) -> AsyncIterator[None]:
    task = asyncio.create_task(Relay(tellers=tellers).run())
    try:
        yield
    finally:
        task.cancel()
        async with asyncio.timeout(SOON):
            await asyncio.gather(task, return_exceptions=True)


async def uploaded(house: House, count: int) -> None:
    for _ in range(count):
        await house.uploaded()


async def test_what_happens_is_told_without_anybody_ringing(relays: Relays) -> None:
    async with receiving() as receiver:
        await relays.teller("crm", receiver)
        async with running(relays.tellers):
            await uploaded(relays.house, 20)
            await receiver.until(lambda: len(receiver.heard) == 20)
        assert {heard.type for heard in receiver.heard} == {"session.verified"}
        assert len({heard.session_id for heard in receiver.heard}) == 20


async def test_a_bell_wakes_it_at_once(relays: Relays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.workers.relay.IDLE", timedelta(hours=1))
    async with receiving() as receiver:
        await relays.teller("crm", receiver)
        await relays.teller("bi", receiver)
        async with running(relays.tellers):
            await asyncio.sleep(0.05)  # all wait now
            await uploaded(relays.house, 1)
            relays.news.ring()
            await receiver.until(lambda: len(receiver.heard) == 2)
            for job in await relays.house.lease(1, worker="w", wait=timedelta(0)):
                await relays.house.report(job)
            relays.news.ring()
            await receiver.until(lambda: len(receiver.heard) == 4)


async def test_what_comes_next_is_told_as_soon_as_the_first_is(relays: Relays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.workers.relay.IDLE", timedelta(hours=1))
    async with receiving() as receiver:
        await relays.teller("crm", receiver)
        await uploaded(relays.house, 1)
        for job in await relays.house.lease(1, worker="w", wait=timedelta(0)):
            await relays.house.report(job)
        async with running(relays.tellers):
            await receiver.until(lambda: len(receiver.heard) == 2)


async def test_a_webhook_that_hangs_delays_no_other(relays: Relays) -> None:
    async with receiving(usual=hang) as stuck, receiving() as quick:
        await relays.teller("stuck", stuck, places=3)
        await relays.teller("quick", quick)
        async with running(relays.tellers):
            await uploaded(relays.house, 30)
            await quick.until(lambda: len(quick.heard) == 30)
            await stuck.until(lambda: len(stuck.heard) == 3)
            assert stuck.open_now == 3


async def test_a_webhook_whose_queue_stumbles_delays_no_other(relays: Relays, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("a bug")

    async with receiving() as one, receiving() as other:
        await relays.teller("broken", one, hooks=Broken())
        await relays.teller("sound", other)
        async with running(relays.tellers):
            await uploaded(relays.house, 5)
            await other.until(lambda: len(other.heard) == 5)
    assert {record.message for record in caplog.records} >= {"relay.stumbled", "webhook.stumbled"}


async def test_one_session_is_told_one_event_at_a_time(relays: Relays) -> None:
    async with receiving() as receiver:
        await relays.teller("crm", receiver, places=16)
        await uploaded(relays.house, 8)
        for job in await relays.house.lease(8, worker="w", wait=timedelta(0)):
            await relays.house.report(job)
        async with running(relays.tellers):
            await receiver.until(lambda: len(receiver.heard) == 16)
    for session_id in {heard.session_id for heard in receiver.heard}:
        types = [heard.type for heard in receiver.heard if heard.session_id == session_id]
        assert types == ["session.verified", "session.processed"]


async def test_several_relays_tell_each_event_once(relays: Relays) -> None:
    async with receiving() as receiver:
        for _ in range(3):
            await relays.teller("crm", receiver)
        async with running(relays.tellers):
            await uploaded(relays.house, 25)
            await receiver.until(lambda: len(receiver.heard) >= 25)
            await asyncio.sleep(0.05)
    assert len(receiver.heard) == 25


class Failing:
    """A ledger that is away for a while."""

    def __init__(self, hooks: Any, times: int) -> None:
        self._hooks, self.left = hooks, times

    def __getattr__(self, name: str) -> Any:
        if self.left:
            self.left -= 1
            raise LedgerUnavailable
        return getattr(self._hooks, name)


async def test_it_outlives_a_ledger_that_is_away(relays: Relays) -> None:
    async with receiving() as receiver:
        failing = Failing(relays.hooks, 4)
        await relays.teller("crm", receiver, hooks=failing)
        await uploaded(relays.house, 3)
        async with running(relays.tellers):
            await receiver.until(lambda: len(receiver.heard) == 3)
    assert failing.left == 0


async def test_what_was_told_but_not_noted_is_told_again(relays: Relays) -> None:
    class Forgetful:
        def __init__(self) -> None:
            self.times = 1

        async def settle(self, *args: Any, **kwargs: Any) -> Any:
            self.times -= 1
            if self.times >= 0:
                raise LedgerUnavailable
            return await relays.hooks.settle(*args, **kwargs)

        def __getattr__(self, name: str) -> Any:
            return getattr(relays.hooks, name)

    async with receiving() as receiver:
        await relays.teller("crm", receiver, hooks=Forgetful())
        await uploaded(relays.house, 1)
        async with running(relays.tellers):
            await receiver.until(lambda: len(receiver.heard) == 1)
            relays.house.clock.advance(TIMEOUT + MARGIN)
            await receiver.until(lambda: len(receiver.heard) == 2)
    assert len({heard.headers["webhook-id"] for heard in receiver.heard}) == 1


async def test_an_endpoint_that_is_gone_is_left_alone_for_an_hour(
    relays: Relays, caplog: pytest.LogCaptureFixture
) -> None:
    async with receiving(manners=[answering(410)]) as receiver:
        await relays.teller("crm", receiver, places=1)
        async with running(relays.tellers):
            await uploaded(relays.house, 3)
            await receiver.until(lambda: any(record.message == "webhook.paused" for record in caplog.records))
            relays.house.clock.advance(LONGEST_PAUSE - timedelta(seconds=1))
            await asyncio.sleep(0.6)  # more than two rounds
            assert len(receiver.heard) == 1
            relays.house.clock.advance(timedelta(seconds=1))
            await receiver.until(lambda: len(receiver.heard) == 4)


async def test_a_delivery_that_is_on_its_way_ends_when_the_relay_is_told_to(relays: Relays) -> None:
    gate = asyncio.Event()

    async def slow(_: Any, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(b"HTTP/1.1 204 Fine\r\n\r\n")

    async with receiving(usual=slow) as receiver:
        await relays.teller("crm", receiver)
        await uploaded(relays.house, 1)
        async with running(relays.tellers):
            await receiver.until(lambda: len(receiver.heard) == 1)
            asyncio.get_running_loop().call_later(0.05, gate.set)
        assert await relays.hooks.waiting() == {"crm": 0}


async def test_a_delivery_that_hangs_is_cut_off_and_told_again_by_the_next_relay(
    relays: Relays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.workers.in_flight.DRAIN", timedelta(seconds=0.05))
    async with receiving(manners=[hang]) as receiver:
        teller = await relays.teller("crm", receiver)
        await uploaded(relays.house, 1)
        async with running([teller]):
            await receiver.until(lambda: len(receiver.heard) == 1)
        await receiver.until(lambda: receiver.open_now == 0)
        relays.house.clock.advance(TIMEOUT + MARGIN)
        async with running([teller]):
            await receiver.until(lambda: len(receiver.heard) == 2)
        assert len({heard.headers["webhook-id"] for heard in receiver.heard}) == 1


async def test_every_attempt_is_counted_by_webhook_and_outcome(relays: Relays) -> None:
    metrics = Metrics(webhooks=["crm", "bi"])
    async with receiving(manners=[answering(500)]) as receiver:
        teller = await relays.teller("crm", receiver, places=1)
        counted = CountedDeliveries(deliveries=relays.hooks, metrics=metrics)
        teller = replace(teller, deliveries=counted, tell=replace(teller.tell, deliveries=counted))
        await uploaded(relays.house, 3)
        async with running([teller]):
            await receiver.until(lambda: len(receiver.heard) == 3)

    def count(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    attempts = "broker_webhook_attempts_total"
    assert count(attempts, webhook="crm", outcome="failed") == 1
    assert count(attempts, webhook="crm", outcome="delivered") == 2
    assert count(attempts, webhook="bi", outcome="delivered") == 0
    assert count("broker_webhook_told_seconds_count", webhook="crm") == 2


def test_every_outcome_of_the_log_is_one_of_the_metric() -> None:
    assert set(get_args(Outcome)) == set(TOLD)


async def test_without_webhooks_it_waits_and_ends(relays: Relays) -> None:
    async with running([]):
        await uploaded(relays.house, 1)
    assert (await relays.house.states())[-1] is State.VERIFIED
