"""An empty or wrong Redis is noticed as such, whoever starts first and whatever is away meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from broker.domain.errors import StoreMismatch, StoreUnavailable
from broker.domain.policy import Destination
from broker.ledger.memory import MemoryLedger
from broker.ports import Buckets
from broker.services.store_marks import MarkStores, MatchStore
from broker.workers import marker as worker
from broker.workers.marker import Marker
from tests.clock import FrozenClock
from tests.memory_bucket import MemoryBucket
from tests.unit.services.house import PLACE

CLOCK = FrozenClock()


class Shop:
    """One ledger and two destinations."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger(CLOCK)
        self.eu, self.us = MemoryBucket(clock=CLOCK), MemoryBucket(clock=CLOCK)
        self.buckets: Buckets = {
            name: bucket.as_bucket(replace_name(name)) for name, bucket in (("eu", self.eu), ("us", self.us))
        }

    async def mark(self, ledger: MemoryLedger | None = None) -> None:
        await MarkStores(buckets=self.buckets, identity=(ledger or self.ledger).identity, clock=CLOCK)()

    async def match(self, name: str, ledger: MemoryLedger | None = None) -> None:
        await MatchStore(identity=(ledger or self.ledger).identity)(self.buckets[name])


def replace_name(name: str) -> Destination:
    return replace(PLACE, name=name)


@pytest.fixture
def shop() -> Shop:
    return Shop()


async def test_a_new_ledger_and_new_stores_get_one_id(shop: Shop) -> None:
    await shop.mark()

    held = await shop.ledger.identity.store_id()
    assert held is not None
    assert (shop.eu.mark.note, shop.us.mark.note) == (held, held)
    await shop.match("eu")
    await shop.match("us")


async def test_marking_again_changes_nothing(shop: Shop) -> None:
    await shop.mark()
    held = shop.eu.mark.note
    await shop.mark()
    assert (shop.eu.mark.note, await shop.ledger.identity.store_id()) == (held, held)


async def test_a_destination_that_came_later_is_marked_by_the_ledger_that_has_an_id(shop: Shop) -> None:
    await shop.mark()
    shop.us.mark.note = None
    with pytest.raises(StoreMismatch, match="no note of a ledger yet"):
        await shop.match("us")

    await shop.mark()

    assert shop.us.mark.note == shop.eu.mark.note


async def test_an_emptied_ledger_is_given_no_new_id(shop: Shop) -> None:
    await shop.mark()
    emptied, held = MemoryLedger(CLOCK), shop.eu.mark.note
    shop.us.mark.note = None  # even if there is a place where it could begin anew

    with pytest.raises(StoreMismatch, match="Redis is empty, or the wrong database"):
        await shop.mark(emptied)

    assert await emptied.identity.store_id() is None
    assert (shop.eu.mark.note, shop.us.mark.note) == (held, None)
    with pytest.raises(StoreMismatch, match="Redis is empty, or the wrong database"):
        await shop.match("eu", emptied)


async def test_another_ledger_changes_no_note_and_is_told(shop: Shop) -> None:
    await shop.mark()
    other, held = MemoryLedger(CLOCK), shop.eu.mark.note
    await other.identity.claim("another")

    with pytest.raises(StoreMismatch, match="belongs to another ledger"):
        await shop.mark(other)

    assert (shop.eu.mark.note, shop.us.mark.note) == (held, held)
    with pytest.raises(StoreMismatch, match="belongs to another ledger"):
        await shop.match("eu", other)


async def test_many_that_begin_at_once_agree(shop: Shop) -> None:
    await asyncio.gather(*(shop.mark() for _ in range(8)))
    assert shop.eu.mark.note == shop.us.mark.note == await shop.ledger.identity.store_id()


async def test_of_two_ledgers_that_begin_at_once_the_later_one_is_told(shop: Shop) -> None:
    other = MemoryLedger(CLOCK)

    async def meanwhile() -> None:
        shop.eu.mark.before_write = other_is_done
        await shop.mark(other)

    async def other_is_done() -> None:
        return

    shop.eu.mark.before_write = meanwhile
    with pytest.raises(StoreMismatch, match="'eu' belongs to another ledger"):
        await shop.mark()
    assert shop.eu.mark.note == await other.identity.store_id()


async def test_while_a_store_is_away_a_ledger_without_an_id_gets_none(shop: Shop) -> None:
    """The store that is away may be the one whose ledger this was."""
    shop.us.trouble = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        await shop.mark()
    assert await shop.ledger.identity.store_id() is None
    assert shop.eu.mark.note is None


async def test_a_store_that_is_away_keeps_no_other_from_being_marked(shop: Shop) -> None:
    await shop.mark()
    shop.us.mark.note = None
    shop.eu.trouble = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        await shop.mark()
    assert shop.us.mark.note == shop.eu.mark.note
    with pytest.raises(StoreUnavailable):
        await shop.match("eu")


@asynccontextmanager
async def running(marker: Marker) -> AsyncIterator[None]:
    task = asyncio.create_task(marker.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def test_the_marker_goes_on_until_it_is_done_and_lives(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[float] = []
    is_asleep = asyncio.Event()

    async def sleep(seconds: float) -> None:
        tries.append(seconds)
        if len(tries) == 3:
            shop.us.trouble = None
        if len(tries) == 4:
            is_asleep.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(worker.asyncio, "sleep", sleep)
    shop.us.trouble = StoreUnavailable()
    mark = MarkStores(buckets=shop.buckets, identity=shop.ledger.identity, clock=CLOCK)
    async with running(Marker(mark=mark)), asyncio.timeout(5):
        await is_asleep.wait()
    assert tries == [1, 2, 4, worker.AGAIN.total_seconds()]
    assert shop.us.mark.note is not None


async def test_the_marker_survives_a_mismatch_and_says_so(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    is_asleep = asyncio.Event()

    async def sleep(_: float) -> None:
        is_asleep.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(worker.asyncio, "sleep", sleep)
    shop.eu.mark.note = "somebody"
    mark = MarkStores(buckets=shop.buckets, identity=shop.ledger.identity, clock=CLOCK)
    async with running(Marker(mark=mark)), asyncio.timeout(5):
        await is_asleep.wait()
    assert "store.mismatch" in caplog.messages
