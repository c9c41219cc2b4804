"""After a disaster every session that the bucket still tells of comes back, once, and nothing is ever deleted."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from broker.contract import State
from broker.domain.errors import StoreMismatch, StoreUnavailable
from broker.domain.keys import new_session_id
from broker.domain.objects import CAPSULE_FIELD
from broker.services.store_marks import TakeOver
from broker.services.sweep_report import RecoverReport
from tests.unit.services.house import PLACE, Fuse, House, survive
from tests.unit.services.test_sweep import aborted_with_late_bytes, forgotten, opened, swept

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


async def take_over(house: House) -> None:
    await TakeOver(identity=house.ledger.identity)([*house.buckets.values()])


async def recovered(house: House, created_after: datetime | None = None) -> RecoverReport:
    return await house.recover(house.buckets[PLACE.name], created_after=created_after)


async def lost(count: int = 5, **more: Any) -> tuple[House, list[str]]:
    """A house whose ledger is empty, and the ids of what had been uploaded."""
    house = await opened(**more)
    sessions = [await house.uploaded() for _ in range(count)]
    house.lose_ledger()
    return house, sorted(session.id for session in sessions)


async def jobs(house: House) -> list[str]:
    return sorted(job.id for job in await house.lease(100, worker="w", wait=timedelta(0)))


async def test_an_empty_ledger_gets_every_upload_back_as_a_job() -> None:
    house, ids = await lost()
    before = dict(house.bucket.stored)
    await take_over(house)

    report = await recovered(house)
    await house.looks()

    assert (report.listed.objects, report.adopted.objects, report.failed) == (5, 5, 0)
    assert report.adopted.size_bytes == report.listed.size_bytes == 60
    assert await jobs(house) == ids
    assert house.bucket.stored == before


async def test_it_may_be_run_again_and_by_several_at_once() -> None:
    house, ids = await lost()
    await take_over(house)

    first = await asyncio.gather(recovered(house), recovered(house))
    again = await recovered(house)
    await house.looks()

    assert sum(report.adopted.objects for report in first) == 5
    assert (again.adopted.objects, again.known.objects) == (0, 5)
    assert await jobs(house) == ids


async def test_an_empty_ledger_is_refused_until_somebody_takes_the_store_over() -> None:
    house, _ = await lost()
    with pytest.raises(StoreMismatch, match="Redis is empty, or the wrong database"):
        await recovered(house)
    assert await house.ledger.next_due() is None


async def test_a_ledger_of_another_store_takes_nothing_over() -> None:
    house, _ = await lost()
    await house.ledger.identity.claim("another")
    with pytest.raises(StoreMismatch, match="has an id of its own"):
        await take_over(house)
    with pytest.raises(StoreMismatch, match="belongs to another ledger"):
        await recovered(house)
    assert await house.ledger.identity.store_id() == "another"


async def test_there_is_nothing_to_take_over_where_nobody_left_a_note() -> None:
    house = House()
    with pytest.raises(StoreMismatch, match="no note"):
        await take_over(house)
    assert await house.ledger.identity.store_id() is None


async def test_taking_over_again_changes_nothing() -> None:
    house, _ = await lost()
    await take_over(house)
    held = await house.ledger.identity.store_id()
    await take_over(house)
    assert await house.ledger.identity.store_id() == held == house.bucket.mark.note


async def test_what_is_known_to_have_been_processed_is_not_processed_again() -> None:
    """Neither now nor by the sweeper or an event later."""
    house = await opened()
    old = [await house.uploaded() for _ in range(3)]
    processed_until = house.clock.now()
    await house.pass_time(HOUR)
    young = [await house.uploaded() for _ in range(2)]
    house.lose_ledger()
    await take_over(house)

    report = await recovered(house, created_after=processed_until)
    await swept(house)
    for session in old:
        await house.event(session.facts.key)
    await house.looks()

    assert (report.adopted.objects, report.too_old.objects) == (2, 3)
    assert await jobs(house) == sorted(session.id for session in young)


async def test_by_default_what_may_still_have_a_record_is_adopted() -> None:
    house = await opened()
    await house.uploaded()
    await house.pass_time(PLACE.policy.retention + HOUR)
    young = await house.uploaded()
    house.lose_ledger()
    await take_over(house)

    report = await recovered(house)

    assert (report.adopted.objects, report.too_old.objects) == (1, 1)
    assert await house.ledger.get(young.id) is not None


async def test_an_operator_may_reach_back_further_than_records_live() -> None:
    house = await opened()
    session = await house.uploaded()
    begin = session.facts.created_at
    await house.pass_time(PLACE.policy.retention + DAY)
    house.lose_ledger()
    await take_over(house)

    report = await recovered(house, created_after=begin - HOUR)
    await house.looks()

    assert report.adopted.objects == 1
    assert await jobs(house) == [session.id]


async def test_but_not_to_what_has_a_tombstone() -> None:
    house = await opened()
    (dead,) = await aborted_with_late_bytes(house)
    await forgotten(house)

    report = await recovered(house, created_after=dead.facts.created_at - HOUR)

    assert (report.known.objects, report.adopted.objects) == (1, 0)
    assert await house.ledger.get(dead.id) is None


async def test_nor_may_an_event_bring_to_life_what_has_a_tombstone() -> None:
    """Its record went after a day; then an operator had records kept for a month."""
    brief = replace(PLACE, policy=replace(PLACE.policy, retention=DAY))
    house = await opened(brief)
    (dead,) = await aborted_with_late_bytes(house)
    await house.pass_time(2 * DAY)
    assert await house.ledger.get(dead.id) is None
    house.configure(PLACE)

    await house.event(dead.facts.key)
    await house.looks()

    assert await house.ledger.get(dead.id) is None
    assert dead.facts.key in house.bucket.stored


async def test_the_clock_of_the_store_may_be_a_little_behind() -> None:
    house = await opened()
    begin = house.clock.now()
    house.clock.advance(timedelta(seconds=1))
    session = await house.uploaded()
    house.bucket.tamper(session.facts.key, last_modified=begin - timedelta(minutes=10))
    house.lose_ledger()
    await take_over(house)

    report = await recovered(house, created_after=begin)

    assert report.adopted.objects == 1


async def test_what_the_broker_never_signed_is_not_adopted() -> None:
    house, ids = await lost(1)
    capsule = next(iter(house.bucket.stored.values())).metadata
    stranger = new_session_id(0)
    house.bucket.store(f"uploads/{stranger}/report.csv", size_bytes=5, metadata=capsule)
    house.bucket.store(f"uploads/{new_session_id(0)}/report.csv", size_bytes=5, metadata={CAPSULE_FIELD: "forged"})
    house.bucket.store("uploads/else", size_bytes=5)
    before = dict(house.bucket.stored)
    await take_over(house)

    report = await recovered(house)

    assert (report.adopted.objects, report.not_ours.objects, report.foreign.objects) == (1, 2, 1)
    assert await house.ledger.get(stranger) is None
    assert house.bucket.stored == before
    await house.looks()
    assert await jobs(house) == ids


async def test_only_the_latest_version_of_an_object_brings_its_session_back() -> None:
    house, _ = await lost(1, keeps_versions=True)
    (key,) = (key for key in house.bucket.stored if key != "uploads/.broker")
    house.bucket.store(key, size_bytes=5)
    await take_over(house)

    report = await recovered(house)

    assert (report.listed.objects, report.adopted.objects, report.not_ours.objects) == (1, 0, 1)


async def test_a_store_that_breaks_off_is_said_and_the_next_run_ends_it() -> None:
    house, ids = await lost()
    await take_over(house)
    calls = 0

    async def trouble() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StoreUnavailable

    house.bucket.before_head = trouble
    report = await recovered(house)
    again = await recovered(house)
    await house.looks()

    assert (report.adopted.objects, report.failed) == (4, 1)
    assert (again.adopted.objects, again.known.objects) == (1, 4)
    assert await jobs(house) == ids


@pytest.mark.parametrize("is_answer_lost", [False, True], ids=["before a call", "after a call"])
async def test_it_may_die_anywhere_and_the_next_run_ends_it(is_answer_lost: bool) -> None:
    for burns_at in range(1, 100):
        fuse = Fuse(is_answer_lost=is_answer_lost)
        house, ids = await lost(3, fuse=fuse)
        await take_over(house)
        fuse.calls, fuse.burns_at = 0, burns_at

        await survive(house, lambda: recovered(house))  # noqa: B023 - awaited at once
        has_burnt, fuse.burns_at = fuse.calls >= burns_at, None
        await recovered(house)
        await house.looks()

        assert await jobs(house) == ids
        if not has_burnt:
            assert burns_at > 5
            return
    raise AssertionError("it never ends")


# --- a restored old ledger


async def test_a_restored_old_ledger_loses_nothing_and_deletes_nothing() -> None:
    """At the backup: one verified, one pending, one aborted, one expired. Since then all of them went on, one came."""
    house = await opened()
    verified = await house.uploaded()
    pending, expiring = await house.minted(), await house.minted()
    (aborted,) = await aborted_with_late_bytes(house)
    await house.pass_time(2 * DAY)
    assert (await house.session(expiring.session.id)).state is State.EXPIRED
    pending = await house.minted()
    backup = house.backup()

    house.sent(pending)
    house.store_anyhow(expiring.session)
    since = await house.uploaded()
    await house.event(pending.session.facts.key)
    await house.event(expiring.session.facts.key)
    await house.looks()
    for job in await house.lease(10, worker="w", wait=timedelta(0)):
        await house.report(job)
    before = dict(house.bucket.stored)

    house.lose_ledger(backup=backup)
    report = await swept(house)
    await house.pass_time(DAY)

    assert report.adopted.objects == 1
    before.pop(aborted.facts.key)
    assert house.bucket.stored == before
    assert house.bucket.removed == [aborted.facts.key]
    ids = [verified.id, pending.session.id, expiring.session.id, since.id]
    assert await jobs(house) == sorted(ids)
