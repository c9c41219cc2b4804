"""Another chance for a failed job: only where there is something left to process."""

from datetime import timedelta

import pytest

from broker.contract import State
from broker.domain.errors import (
    ObjectErased,
    ObjectGone,
    SessionNotFound,
    SessionSettled,
    StoreUnavailable,
    UnknownDestination,
)
from broker.domain.sessions import Session
from broker.services.revive import Revive
from tests.unit.services.house import House, survive


def revive_of(house: House) -> Revive:
    return Revive(buckets=house.buckets, sessions=house.look.sessions, clock=house.clock)


async def failed(house: House) -> Session:
    await house.uploaded()
    return await house.report(await house.leased(), "failed")


async def test_it_is_leased_and_processed_like_any_other() -> None:
    house = House()
    session = await failed(house)
    again = await revive_of(house)(session.id)
    assert (again.state, again.attempts.failures) == (State.VERIFIED, 0)
    job = await house.leased()
    assert job.lease.epoch == session.progress.epoch + 1
    assert (await house.report(job)).state is State.PROCESSED


async def test_it_fails_for_good_only_after_as_many_failures_as_any_other() -> None:
    house = House()
    session = await house.uploaded()
    for _ in range(2):
        for _ in range(house.place.policy.max_failures):
            house.clock.advance(timedelta(hours=1))
            assert (await house.session(session.id)).state is State.VERIFIED
            await house.report(await house.leased(), "retry")
        assert (await house.session(session.id)).state is State.FAILED
        await revive_of(house)(session.id)


async def test_a_dry_run_changes_nothing() -> None:
    house = House()
    session = await failed(house)
    assert (await revive_of(house).check(session.id)).after.state is State.VERIFIED
    assert await house.session(session.id) == session


async def test_where_there_is_nothing_to_process_it_is_refused() -> None:
    house = House()
    session, other, erased = await failed(house), await failed(house), await failed(house)
    revive = revive_of(house)
    del house.bucket.stored[session.facts.key]
    house.bucket.tamper(other.facts.key, etag="0" * 32)
    await house.erase(erased)
    for session_id, error in (
        (session.id, ObjectGone),
        (other.id, ObjectGone),
        (erased.id, ObjectErased),
        ("00" + "b" * 26, SessionNotFound),
        ((await house.uploaded()).id, SessionSettled),
    ):
        for refused in (revive(session_id), revive.check(session_id)):
            with pytest.raises(error):
                await refused
    assert await house.session(session.id) == session


async def test_trouble_with_the_store_is_no_answer() -> None:
    house = House()
    session = await failed(house)
    house.bucket.trouble = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        await revive_of(house)(session.id)
    house.buckets.clear()
    with pytest.raises(UnknownDestination):
        await revive_of(house)(session.id)
    assert await house.session(session.id) == session


@pytest.mark.parametrize("is_answer_lost", [False, True], ids=["dies before", "answer lost"])
@pytest.mark.parametrize("burns_at", [1, 2, 3])
async def test_a_death_at_any_call_makes_one_job(burns_at: int, is_answer_lost: bool) -> None:
    house = House()
    session = await failed(house)
    house.fuse.calls, house.fuse.burns_at, house.fuse.is_answer_lost = 0, burns_at, is_answer_lost

    async def revive() -> None:
        try:
            await revive_of(house)(session.id)
        except SessionSettled:  # it was done, and the answer got lost
            assert is_answer_lost

    await survive(house, revive)
    assert house.fuse.calls >= burns_at
    assert (await house.report(await house.leased())).state is State.PROCESSED
    assert (await house.states()).count(State.VERIFIED) == 2
