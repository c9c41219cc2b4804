"""The poller: nothing is deleted before it is recorded, nothing is lost, and nobody waits for ever."""

import asyncio
import gc
import json
import logging
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from dataclasses import replace as with_port
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from broker.contract import State
from broker.domain.errors import BrokerError, LedgerUnavailable, SourceRefused, SourceUnavailable
from broker.doors.bodies import open_body
from broker.ports import Checkup, Deletion, Message, Stray
from broker.services.collect import Collect
from broker.services.poison import OnPoison, Poison
from broker.workers.poller import Poller
from broker.workers.poller_health import PollingSchedule
from tests.memory_mailbox import MemoryMailbox
from tests.unit.doors import senders
from tests.unit.services.house import House

SOON = 10  # seconds of real time; back-off is real


@dataclass(slots=True)
class Ledger:
    """The looks of a house, and whether they answer."""

    house: House
    is_away: bool = False
    asked: int = 0
    hinted: int = 0
    checked: int = 0

    async def hint(self, session_id: str, stray: Stray | None, **when: Any) -> bool:
        return bool(await self.hint_many([(session_id, stray)], **when))

    async def hint_many(self, hints: Sequence[tuple[str, Stray | None]], **when: Any) -> int:
        self.asked += 1
        if self.is_away:
            raise LedgerUnavailable
        self.hinted += len(hints)
        return sum([await self.house.ledger.hint(*hint, **when) for hint in hints])

    async def check(self) -> Checkup:
        self.checked += 1
        return Checkup(faults=("away",) if self.is_away else ())


@dataclass(slots=True)
class World:
    house: House
    mailbox: MemoryMailbox
    ledger: Ledger
    poller: Poller
    task: "asyncio.Task[None]"

    async def upload(self) -> tuple[str, str]:
        """Bytes that came, and of which nobody told yet: session and key."""
        minted = await self.house.minted()
        self.house.sent(minted)
        return minted.session.id, minted.session.facts.key

    async def heard(self, session_id: str) -> bool:
        session = await self.house.ledger.get(session_id)
        return session is not None and session.progress.is_heard

    async def looked(self, session_id: str) -> State:
        """After all looks that are due."""
        await self.house.looks()
        return (await self.house.session(session_id)).state

    async def stop(self) -> None:
        self.task.cancel()
        async with asyncio.timeout(SOON):
            await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def polling(
    mailbox: MemoryMailbox | None = None, *, on_poison: OnPoison = OnPoison.AUTO, receivers: int = 2
) -> AsyncIterator[World]:
    house, mailbox = House(), MemoryMailbox() if mailbox is None else mailbox
    ledger = Ledger(house)
    looks: Any = ledger
    poison = Poison(source="queue", mailbox=mailbox, on_poison=on_poison, clock=house.clock)
    record = with_port(house.record, looks=looks)
    collect = Collect(destinations=(house.place.name,), open_body=open_body, record=record, poison=poison)
    poller = Poller(source="queue", mailbox=mailbox, collect=collect, schedule=looks, receivers=receivers)
    world = World(house, mailbox, ledger, poller, asyncio.create_task(poller.run()))
    try:
        yield world
    finally:
        await world.stop()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not is_so():  # noqa: ASYNC110 - nobody would set an event
            await asyncio.sleep(0.005)


def refusing(**troubles: BrokerError) -> Callable[[str], Any]:
    """What `before` of a mailbox may be: these calls fail as long as they stand in `troubles`."""

    async def before(call: str) -> None:
        if call in troubles:
            raise troubles[call]

    return before


@pytest.mark.parametrize("shape", ["bare", "wrapped", "bridged"])
async def test_whatever_shape_it_comes_in_it_is_heard_and_deleted(shape: str) -> None:
    async with polling() as world:
        session_id, key = await world.upload()
        record = {"Records": [senders.aws(key)]}
        bodies = {
            "bare": json.dumps(record),
            "wrapped": json.dumps(senders.published(json.dumps(record))),
            "bridged": json.dumps(senders.bridged(key)),
        }
        world.mailbox.send(bodies[shape])
        await until(lambda: not len(world.mailbox))
        assert await world.heard(session_id)
        assert await world.looked(session_id) is State.VERIFIED


async def test_a_batch_that_tells_the_same_thing_again_and_again_asks_the_ledger_once() -> None:
    async with polling(receivers=1) as world:
        session_id, key = await world.upload()
        for _ in range(10):
            world.mailbox.send(json.dumps({"Records": [senders.aws(key)] * 3}))
        await until(lambda: not len(world.mailbox))
        assert await world.heard(session_id)
        assert world.ledger.asked == 1


async def test_while_the_ledger_is_away_nothing_is_deleted_and_nothing_more_is_received() -> None:
    async with polling(receivers=1) as world:
        first, first_key = await world.upload()
        world.ledger.is_away = True
        world.mailbox.send(json.dumps({"Records": [senders.aws(first_key)]}))
        await until(lambda: world.ledger.asked >= 2)
        second, second_key = await world.upload()
        world.mailbox.send(json.dumps({"Records": [senders.aws(second_key)]}))
        await until(lambda: world.ledger.asked >= 3)
        assert sorted(world.mailbox.deliveries.values()) == [0, 1]
        assert "delete" not in world.mailbox.calls
        assert list(world.poller.troubles) == ["record"]
        world.ledger.is_away = False
        await until(lambda: not len(world.mailbox))
        assert await world.heard(first)
        assert await world.heard(second)
        assert not world.poller.troubles


async def test_a_ledger_that_stays_away_costs_a_message_one_delivery_however_many_receivers_there_are() -> None:
    """A queue puts aside what was received too often; that must not happen to good messages while we are down."""
    async with polling(MemoryMailbox(loan=timedelta(seconds=1)), receivers=4) as world:
        session_id, key = await world.upload()
        world.ledger.is_away = True
        world.mailbox.send(json.dumps({"Records": [senders.aws(key)]}))
        await until(lambda: len(world.mailbox.deliveries) == 1 and world.ledger.checked >= 3)
        assert [*world.mailbox.deliveries.values()] == [1]
        assert "delete" not in world.mailbox.calls
        world.ledger.is_away = False
        await until(lambda: not len(world.mailbox))
        assert await world.heard(session_id)


async def test_what_could_not_be_deleted_is_tried_again_and_recorded_once() -> None:
    tries: list[int] = []

    def fail(messages: Sequence[Message]) -> Deletion:
        tries.append(len(messages))
        return Deletion(again=messages[: len(messages) // 2])

    async with polling(MemoryMailbox(fail=fail), receivers=1) as world:
        _, key = await world.upload()
        for _ in range(4):
            world.mailbox.send(json.dumps({"Records": [senders.aws(key)]}))
        await until(lambda: not len(world.mailbox))
        assert tries == [4, 2, 1]
        assert world.ledger.asked == 1


async def test_what_no_try_deletes_is_left_to_come_back() -> None:
    mailbox = MemoryMailbox(loan=timedelta(seconds=1))
    mailbox.fail = lambda messages: Deletion(lost=messages) if mailbox.calls.count("delete") == 1 else Deletion()
    async with polling(mailbox, receivers=1) as world:
        session_id, key = await world.upload()
        mailbox.send(json.dumps({"Records": [senders.aws(key)]}))
        await until(lambda: not len(mailbox))
        assert mailbox.calls.count("delete") == 2
        assert await world.heard(session_id)


async def test_a_process_that_dies_between_record_and_delete_changes_nothing_but_work() -> None:
    stuck = asyncio.Event()

    async def before(call: str) -> None:
        if call == "delete":
            stuck.set()
            await asyncio.Event().wait()

    mailbox = MemoryMailbox(loan=timedelta(seconds=1), before=before)
    async with polling(mailbox) as world:
        session_id, key = await world.upload()
        mailbox.send(json.dumps({"Records": [senders.aws(key)]}))
        async with asyncio.timeout(SOON):
            await stuck.wait()
        for task in list(world.poller._running._tasks):
            task.cancel()  # as by kill -9: nothing is given back
        assert await world.looked(session_id) is State.VERIFIED
        before_it_came_again = await world.house.ledger.get(session_id)
        mailbox.before = None
        await until(lambda: not len(mailbox))
        assert await world.house.ledger.get(session_id) == before_it_came_again


async def test_poison_is_deleted_where_nothing_would_put_it_aside(caplog: pytest.LogCaptureFixture) -> None:
    async with polling(receivers=1) as world:
        session_id, key = await world.upload()
        world.mailbox.send("AKIASECRETKEY42 is no JSON")
        world.mailbox.send(json.dumps({"Records": [senders.aws(key)]}))
        await until(lambda: not len(world.mailbox))
        assert await world.heard(session_id)
    (line,) = [record for record in caplog.records if record.message == "poison.found"]
    assert (vars(line)["sample"], vars(line)["is_kept"], vars(line)["count"]) == ("a9 a a a", False, 1)
    assert "AKIASECRETKEY" not in str([vars(record) for record in caplog.records])


@pytest.mark.parametrize(
    ("is_redriven", "on_poison", "is_kept"),
    [
        (True, OnPoison.AUTO, True),
        (True, OnPoison.DELETE, False),
        (False, OnPoison.KEEP, True),
        (False, OnPoison.AUTO, False),
    ],
)
async def test_what_becomes_of_poison_is_the_mailboxs_or_the_operators_choice(
    is_redriven: bool, on_poison: OnPoison, is_kept: bool
) -> None:
    async with polling(MemoryMailbox(is_redriven=is_redriven), on_poison=on_poison, receivers=1) as world:
        session_id, key = await world.upload()
        world.mailbox.send("poison")
        world.mailbox.send(json.dumps({"Records": [{"half": "a record"}, senders.aws(key)]}))
        await until(lambda: len(world.mailbox) == is_kept and "delete" in world.mailbox.calls)
        assert [*world.mailbox.deliveries] == (["poison"] if is_kept else [])
        assert await world.heard(session_id)
        assert ("has_redrive" in world.mailbox.calls) == (on_poison is OnPoison.AUTO)


async def test_where_nobody_knows_poison_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    trouble = SourceRefused("sources.queue: sqs:GetQueueAttributes is not permitted")
    async with polling(MemoryMailbox(before=refusing(has_redrive=trouble)), receivers=1) as world:
        _, key = await world.upload()
        world.mailbox.send("poison")
        world.mailbox.send(json.dumps({"Records": [senders.aws(key)]}))
        await until(lambda: len(world.mailbox) == 1)
        assert [*world.mailbox.deliveries] == ["poison"]
    (line,) = [record for record in caplog.records if record.message == "poison.redrive-unknown"]
    assert "sqs:GetQueueAttributes" in vars(line)["why"]


async def test_a_flood_of_poison_is_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    async with polling() as world:
        for number in range(500):
            world.mailbox.send(f"poison {number}")
        await until(lambda: not len(world.mailbox))
        world.house.clock.advance(timedelta(seconds=11))
        world.mailbox.send("the last one")
        await until(lambda: not len(world.mailbox))
    counts = [vars(record)["count"] for record in caplog.records if record.message == "poison.found"]
    assert len(counts) == 2
    assert sum(counts) == 501


async def test_a_queue_in_trouble_is_asked_by_one_and_seldom_until_it_answers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    troubles: dict[str, BrokerError] = {"receive": SourceRefused("sources.queue: no such queue")}
    async with polling(MemoryMailbox(before=refusing(**troubles)), receivers=8) as world:
        world.mailbox.before = before = refusing(**troubles)  # the same for all who follow
        await until(lambda: world.mailbox.calls.count("receive") >= 9)
        async with asyncio.timeout(SOON):
            assert (await world.poller.schedule.check()).faults == ()
            schedule = PollingSchedule(schedule=world.poller.schedule, pollers=[world.poller])
            assert (await schedule.check()).faults == ("source 'queue': cannot receive (source-refused)",)
        assert before is world.mailbox.before
        session_id, key = await world.upload()
        world.mailbox.send(json.dumps({"Records": [senders.aws(key)]}))
        world.mailbox.before = None
        await until(lambda: not len(world.mailbox))
        assert await world.heard(session_id)
        assert not world.poller.troubles
        assert (await schedule.check()).faults == ()
    said = [vars(record)["why"] for record in caplog.records if record.message == "poller.waiting"]
    assert said[0] == "sources.queue: no such queue"


async def test_while_others_wait_one_goes_ahead_and_tells_that_the_trouble_is_over() -> None:
    never, receives = asyncio.Event(), iter(range(1_000))

    async def before(call: str) -> None:
        number = next(receives) if call == "receive" else 4
        if number < 3:
            await never.wait()
        if number == 3:
            raise SourceUnavailable

    async with polling(MemoryMailbox(before=before), receivers=4) as world:
        await until(lambda: "receive" in world.poller.troubles)
        session_id, key = await world.upload()
        world.mailbox.send(json.dumps({"Records": [senders.aws(key)]}))
        await until(lambda: not len(world.mailbox))
        assert not world.poller.troubles
        assert await world.heard(session_id)


async def test_pauses_grow_while_a_queue_is_in_trouble() -> None:
    at: list[float] = []

    async def before(call: str) -> None:
        if call == "receive":
            at.append(asyncio.get_running_loop().time())
            raise SourceUnavailable

    async with polling(MemoryMailbox(before=before), receivers=1):
        await until(lambda: len(at) == 4)
    first, second, third = (later - earlier for earlier, later in pairwise(at))
    assert first >= 0.25
    assert second >= 0.5
    assert third >= 1


async def test_a_fault_of_ours_is_logged_and_waited_out(caplog: pytest.LogCaptureFixture) -> None:
    faults = ["receive"]

    async def before(call: str) -> None:
        if faults and call == faults[0]:
            faults.pop()
            raise ZeroDivisionError

    async with polling(MemoryMailbox(before=before)) as world:
        world.mailbox.send("anything")
        await until(lambda: not len(world.mailbox))
    assert "poller.stumbled" in caplog.messages


async def test_told_to_stop_it_ends_what_it_has_begun() -> None:
    deleting, go_on = asyncio.Event(), asyncio.Event()

    async def before(call: str) -> None:
        if call == "delete":
            deleting.set()
            await go_on.wait()

    async with polling(MemoryMailbox(before=before)) as world:
        session_id, key = await world.upload()
        world.mailbox.send(json.dumps({"Records": [senders.aws(key)]}))
        async with asyncio.timeout(SOON):
            await deleting.wait()
        stopping = asyncio.create_task(world.stop())
        await asyncio.sleep(0)
        go_on.set()
        await stopping
        assert not len(world.mailbox)
        assert "release" not in world.mailbox.calls
        assert await world.heard(session_id)


async def test_what_comes_while_it_stops_is_given_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    mailbox = MemoryMailbox(long_poll=timedelta(seconds=2), loan=timedelta(minutes=10))
    async with polling(mailbox, receivers=1) as world:
        await until(lambda: "receive" in mailbox.calls)
        stopping = asyncio.create_task(world.stop())
        await asyncio.sleep(0.01)
        mailbox.send("too late")
        await stopping
        assert mailbox.calls == ["receive", "release"]
        (again,) = await mailbox.receive()
        assert (again.body, again.deliveries) == ("too late", 2)
    assert "poller.released" in caplog.messages


async def test_what_cannot_be_recorded_before_it_must_go_is_given_back() -> None:
    async with polling(MemoryMailbox(loan=timedelta(minutes=10))) as world:
        world.ledger.is_away = True
        _, key = await world.upload()
        world.mailbox.send(json.dumps({"Records": [senders.aws(key)]}))
        await until(lambda: world.ledger.asked >= 2)
        await world.stop()
        assert len(world.mailbox) == 1
        assert len(await world.mailbox.receive()) == 1


async def test_it_stops_in_time_though_the_queue_never_answers() -> None:
    async def before(_: str) -> None:
        await asyncio.Event().wait()

    async with polling(MemoryMailbox(before=before)) as world:
        await until(lambda: "receive" in world.mailbox.calls)
        await world.stop()
        assert world.task.done()


async def test_several_pollers_share_a_mailbox() -> None:
    mailbox = MemoryMailbox()
    async with polling(mailbox) as one, polling(mailbox) as other:
        sessions = [(world, *await world.upload()) for world in (one, other) * 20]
        for world, _, key in sessions:
            world.mailbox.send(json.dumps({"Records": [senders.aws(key)]}))
        await until(lambda: not len(mailbox))
        assert one.ledger.hinted + other.ledger.hinted == 40


async def test_however_many_messages_come_memory_stays_as_it_is() -> None:
    async with polling(receivers=4) as world:
        _, key = await world.upload()
        body = json.dumps({"Records": [senders.aws(key)]})

        async def taken(count: int) -> int:
            for number in range(count):
                world.mailbox.send(body if number % 10 else f"poison {number}")
            await until(lambda: not len(world.mailbox))
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            await taken(500)
            world.mailbox.calls.clear()
            before = await taken(500)
            world.mailbox.calls.clear()
            after = await taken(3_000)
        finally:
            tracemalloc.stop()
        assert after - before < 200_000
