"""Adopt: an object whose session the ledger does not know is taken up by its capsule, once and in time."""

import asyncio
from datetime import timedelta

import pytest

from broker.contract import State
from broker.domain.errors import StoreUnavailable
from broker.domain.objects import CAPSULE_FIELD
from tests.unit.domain.samples import ALL_DIGESTS
from tests.unit.services.house import HOLD, PLACE, House, other_capsule, request_of

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
POLICY = PLACE.policy


async def test_an_upload_whose_session_the_ledger_lost_is_adopted_and_processed_once() -> None:
    house = House()
    minted = await house.minted(
        checksum=ALL_DIGESTS, owner="user-17", batch="b", metadata={"case": "17"}, object_metadata={"mtime": "1"}
    )
    house.sent(minted)
    house.lose_ledger()
    for _ in range(3):
        await house.event(minted.session.facts.key)
        await house.looks()
    adopted = await house.session(minted.session.id)
    assert adopted.state is State.VERIFIED
    before = minted.session.facts
    assert (adopted.facts.principal, adopted.facts.owner, adopted.facts.batch) == ("app", "user-17", "b")
    assert (adopted.facts.spec, adopted.facts.metadata) == (before.spec, before.metadata)
    assert (adopted.facts.created_at, adopted.facts.expires_at) == (before.created_at, before.expires_at)
    await house.report(await house.leased())
    assert await house.states() == [State.PENDING, State.VERIFIED, State.PROCESSING, State.PROCESSED]
    assert await house.is_at_rest()


async def test_an_adopted_session_is_judged_like_any_other() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted, b"too many bytes for that")
    house.lose_ledger()
    await house.event(minted.session.facts.key)
    await house.looks()
    assert (await house.session(minted.session.id)).state is State.REJECTED


async def test_two_lookers_adopt_once() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted)
    house.lose_ledger()
    claims = []
    for _ in range(2):
        await house.event(minted.session.facts.key)
        claims += await house.ledger.claim(10, now=house.clock.now(), hold=HOLD)
        house.clock.advance(timedelta(milliseconds=1))
    await asyncio.gather(*(house.look(due) for due in claims))
    await house.looks()
    assert await house.states() == [State.PENDING, State.VERIFIED]


async def test_what_may_have_been_processed_and_forgotten_is_not_adopted() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted)
    house.lose_ledger()
    house.clock.advance(POLICY.retention)
    await house.event(minted.session.facts.key)
    await house.looks()
    assert await house.ledger.get(minted.session.id) is None
    assert await house.is_at_rest()


async def test_a_record_lives_at_least_as_long_as_its_capsule_could_bring_it_back() -> None:
    house = House()
    session = await house.uploaded()
    await house.report(await house.leased())
    house.clock.advance_to(session.facts.created_at + POLICY.retention - timedelta(milliseconds=1))
    assert await house.ledger.get(session.id) is not None


async def unknown(house: House, key: str, capsule: str) -> None:
    house.lose_ledger()
    house.bucket.store(
        key, size_bytes=12, content_type="text/csv", metadata={CAPSULE_FIELD: capsule} if capsule else {}
    )
    await house.event(key)
    await house.looks()
    assert await house.events() == []
    assert key in house.bucket.stored
    assert house.bucket.removed == []
    assert await house.is_at_rest()


@pytest.mark.parametrize("capsule", ["", "garbage", "copied"])
async def test_an_unknown_object_without_a_capsule_of_its_own_is_untouched(capsule: str) -> None:
    house = House()
    minted = await house.minted()
    sealed = await other_capsule(house) if capsule == "copied" else capsule
    await unknown(house, minted.session.facts.key, sealed)


async def test_a_capsule_copied_to_another_name_of_the_same_session_is_nothing() -> None:
    house = House()
    minted = await house.minted()
    sealed = request_of(minted.upload).headers[f"x-amz-meta-{CAPSULE_FIELD}"]
    await unknown(house, minted.session.facts.key.replace("report", "other"), sealed)


async def test_an_unknown_object_that_is_gone_is_forgotten() -> None:
    house = House()
    minted = await house.minted()
    house.lose_ledger()
    await house.event(minted.session.facts.key)
    assert await house.looks() == 1
    assert await house.is_at_rest()


async def test_trouble_during_an_adoption_puts_it_off() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted)
    house.lose_ledger()
    await house.event(minted.session.facts.key)
    house.bucket.trouble = StoreUnavailable()
    await house.looks()
    house.bucket.trouble = None
    await house.pass_time(timedelta(seconds=5))
    assert (await house.session(minted.session.id)).state is State.VERIFIED


async def test_a_stray_of_a_destination_that_is_not_configured_here_is_left_to_another_process() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted)
    house.lose_ledger()
    await house.event(minted.session.facts.key)
    bucket = house.buckets.pop("default")
    await house.looks()
    house.buckets["default"] = bucket
    await house.pass_time(MINUTE)
    assert (await house.session(minted.session.id)).state is State.VERIFIED
