"""After the ledger was lost the buckets tell of one session: never of a job for each copy."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from broker.contract import State
from broker.domain.capsule import capsule_of
from broker.domain.errors import SessionSettled
from broker.domain.fan_out import copy_in
from broker.domain.objects import CAPSULE_FIELD
from tests.unit.services.house import House, request_of
from tests.unit.services.test_fan_out import DAY, NAMES, a_house, come, minted, send, states

NOTHING_BEFORE = timedelta(days=3_000)


async def recover(house: House, *names: str) -> None:
    """Goes through these buckets at the same time, as somebody in a hurry would."""
    await house.mark()
    await asyncio.gather(
        *(
            house.recover(house.buckets[name], created_after=house.clock.now() - NOTHING_BEFORE)
            for name in names or NAMES
        )
    )


@pytest.mark.parametrize("order", [NAMES, NAMES[::-1]])
async def test_all_buckets_together_rebuild_one_session_with_the_same_id(order: list[str]) -> None:
    house = a_house()
    made = await minted(house, metadata={"case": "17"}, owner="user-17", batch="b")
    send(house, made, *NAMES)
    house.lose_ledger()
    for name in order:
        await recover(house, name)
        await house.looks()
    session = await house.session(made.session.id)
    assert (session.state, states(session)) == (State.VERIFIED, [State.VERIFIED] * 3)
    assert [copy.destination for copy in session.facts.copies] == NAMES
    assert [copy.id for copy in session.facts.copies] == [copy.id for copy in made.session.facts.copies]
    assert (session.facts.metadata, session.facts.owner, session.facts.batch) == ({"case": "17"}, "user-17", "b")
    job = await house.leased()
    assert (job.id, await house.lease(10, worker="w", wait=timedelta(0))) == (session.id, [])
    assert (await house.ledger.usage("app")).sessions == 0


async def test_buckets_that_are_gone_through_at_once_rebuild_one_session() -> None:
    house = a_house()
    made = [await minted(house) for _ in range(3)]
    for each in made:
        send(house, each, *NAMES)
    house.lose_ledger()
    await recover(house)
    await house.looks()
    jobs = await house.lease(10, worker="w", wait=timedelta(0))
    assert {job.id for job in jobs} == {each.session.id for each in made}
    assert len(jobs) == 3


async def test_a_late_event_of_a_lost_copy_rebuilds_its_fan_out() -> None:
    house = a_house()
    made = await minted(house)
    send(house, made, "eu")
    await house.mark()
    house.lose_ledger()
    eu = copy_in(made.session, "eu")
    assert eu is not None
    await house.event(eu.key, bucket=eu.bucket)
    await house.looks()
    session = await house.session(made.session.id)
    assert (session.state, states(session)) == (State.PENDING, [State.EXPIRED, State.VERIFIED, State.EXPIRED])
    assert {copy.reason.code for copy in session.facts.copies if copy.reason} == {"copy-lost"}


async def test_a_copy_that_nobody_finds_again_is_minted_again() -> None:
    house = a_house()
    made = await minted(house)
    send(house, made, "default", "eu")
    house.lose_ledger()
    await recover(house)
    await house.looks()
    session, upload = await house.remint_copy(await house.session(made.session.id), "us")
    house.stores["us"].send(request_of(upload))
    await come(house, session, "us")
    assert (await house.leased()).id == session.id


async def test_what_is_not_found_again_in_time_lets_it_expire() -> None:
    house = a_house()
    made = await minted(house)
    send(house, made, "default", "eu")
    house.lose_ledger()
    house.clock.advance(DAY + timedelta(hours=2))
    await recover(house)
    await house.looks()
    assert (await house.session(made.session.id)).state is State.PENDING  # time to find the third
    await house.pass_time(timedelta(hours=2))
    session = await house.session(made.session.id)
    assert session.state is State.EXPIRED
    assert session.facts.reason is not None
    assert session.facts.reason.code == "copies-missing"


async def test_a_single_copy_s_record_that_is_lost_comes_back_into_its_place() -> None:
    house = a_house()
    made = await minted(house)
    send(house, made, *NAMES)
    eu = copy_in(made.session, "eu")
    assert eu is not None
    house.ledger._shard(eu.id).sessions.drop(eu.id)
    house.ledger._shard(eu.id).due.pop(eu.id, None)
    await come(house, made.session, *NAMES)
    await house.looks()
    assert (await house.leased()).id == made.session.id


async def test_of_a_fan_out_that_came_to_nothing_no_copy_comes_to_life_again() -> None:
    house = a_house()
    made = await minted(house)
    send(house, made, *NAMES)
    await house.abort(made.session)
    for copy in made.session.facts.copies:
        house.ledger._shard(copy.id).sessions.drop(copy.id)
        house.ledger.tombstones._standing.pop(copy.id)
    house.ledger._shard(made.session.id).sessions.drop(made.session.id)
    await recover(house)
    assert await house.ledger.get(made.session.id) is None
    assert await house.states() == [State.PENDING, State.ABORTED]


async def test_a_copy_that_was_replaced_does_not_come_back_beside_the_one_that_is_there() -> None:
    house = a_house()
    made = await minted(house)
    send(house, made, *NAMES)
    await come(house, made.session, *NAMES)
    session = await house.session(made.session.id)
    us = copy_in(session, "us")
    assert us is not None
    other = replace(await house.session(us.id), id=us.id[:2] + "b" * 26)
    facts = replace(other.facts, key=us.key.replace(us.id, other.id))
    sealed = house.sealer.seal(capsule_of(other.id, facts), bucket=facts.bucket, key=facts.key)
    wanted = {"size_bytes": 12, "content_type": "text/csv", "metadata": {CAPSULE_FIELD: sealed}}
    house.stores["us"].store(facts.key, **wanted)
    await recover(house, "us")
    assert await house.session(session.id) == session
    assert facts.key in house.stores["us"].stored  # unknown is never a reason to delete


async def test_what_was_verified_before_is_not_replaced_by_what_comes_to_light() -> None:
    house = a_house(required=1)
    made = await minted(house)
    send(house, made, "us")
    await come(house, made.session, "us")
    with pytest.raises(SessionSettled):
        await house.remint_copy(await house.session(made.session.id), "us")
