"""Of a fan-out a copy is gone: it fails alone, is read no more and can be minted again; with the last the job fails."""

from datetime import timedelta

import msgspec
import pytest

from broker.contract import State
from broker.domain.copies import Copy
from broker.domain.errors import LeaseLost, ObjectGone, SessionNotFound
from broker.domain.fan_out import copy_in
from broker.domain.sessions import OBJECT_MISSING, Session
from broker.ports import Envelope
from broker.services.revive import Revive
from tests.unit.services.house import DOOR_TOKEN, LEASE, House, report_of, request_of, survive
from tests.unit.services.test_fan_out import NAMES, a_house, come, minted, send, states, whole

HOUR = timedelta(hours=1)
US = frozenset({"us"})


def copy_of(session: Session, name: str) -> Copy:
    found = copy_in(session, name)
    assert found is not None
    return found


async def gone(house: House, session: Session, *names: str, is_told: bool = True) -> None:
    """The objects go, and their buckets say so, twice."""
    for name in names:
        copy = copy_of(session, name)
        house.stores[name].stored.pop(copy.key, None)
        record = {
            "eventName": "ObjectRemoved:Delete",
            "s3": {"bucket": {"name": copy.bucket}, "object": {"key": copy.key}},
        }
        body = msgspec.json.encode({"Records": [record] * 2})
        if is_told:
            await house.notify("events", Envelope(headers={}, query={"token": DOOR_TOKEN}, body=body))
    await house.looks()


def reason_of(found: Session | Copy) -> str:
    reason = found.facts.reason if isinstance(found, Session) else found.reason
    assert reason is not None
    return reason.code


async def test_the_job_is_read_from_a_copy_that_is_there() -> None:
    house = a_house()
    session = await whole(house)

    await gone(house, session, "default")

    after = await house.session(session.id)
    assert (after.state, states(after)) == (State.VERIFIED, [State.FAILED, State.VERIFIED, State.VERIFIED])
    assert reason_of(copy_of(after, "default")) == OBJECT_MISSING
    job = await house.leased()
    assert (job.id, job.destination) == (session.id, "eu")
    assert (await house.report(job)).state is State.PROCESSED
    assert await house.states() == [State.PENDING, State.VERIFIED, State.PROCESSING, State.PROCESSED]
    assert await house.is_at_rest()


async def test_nobody_of_its_zone_is_given_the_job_any_more() -> None:
    house = a_house()
    session = await whole(house)
    await gone(house, session, "us")
    assert await house.lease(1, worker="w", wait=timedelta(0), zones=frozenset({"us"})) == []
    assert len(await house.lease(1, worker="w", wait=timedelta(0), zones=frozenset({"eu"}))) == 1


@pytest.mark.parametrize("order", [NAMES, NAMES[::-1]], ids=str)
async def test_with_the_last_copy_the_job_fails_once(order: list[str]) -> None:
    house = a_house()
    session = await whole(house)
    for name in order:
        assert (await house.session(session.id)).state is State.VERIFIED
        await gone(house, session, name)

    after = await house.session(session.id)
    assert (after.state, reason_of(after), states(after)) == (State.FAILED, OBJECT_MISSING, [State.FAILED] * 3)
    assert await house.states() == [State.PENDING, State.VERIFIED, State.FAILED]
    assert await house.is_at_rest()


async def test_a_copy_that_is_gone_while_others_are_awaited_may_come_again() -> None:
    house = a_house()
    made = await house.minted(destinations=NAMES, checksum=(await whole(house)).facts.spec.checksum)
    for copy in made.copies[:2]:
        house.stores[copy.destination].send(request_of(copy.upload))
    await come(house, made.session, *NAMES[:2])
    await gone(house, made.session, "default")
    assert states(await house.session(made.session.id)) == [State.FAILED, State.VERIFIED, State.PENDING]

    house.stores["us"].send(request_of(made.copies[2].upload))
    await come(house, made.session, "us")
    pending = await house.session(made.session.id)
    assert pending.state is State.PENDING
    again, upload = await house.remint_copy(pending, "default")
    house.stores["default"].send(request_of(upload))
    await come(house, again, "default")
    assert (await house.session(made.session.id)).state is State.VERIFIED


async def test_a_failed_job_is_tried_again_once_a_copy_has_come_again() -> None:
    house = a_house()
    session = await whole(house)
    await gone(house, session, *NAMES)
    revive = Revive(buckets=house.buckets, sessions=house.ledger, clock=house.clock)
    with pytest.raises(ObjectGone):
        await revive(session.id)

    again, upload = await house.remint_copy(await house.session(session.id), "us")
    house.stores["us"].send(request_of(upload))
    await come(house, again, "us")
    assert (await revive(session.id)).state is State.VERIFIED
    job = await house.leased()
    assert job.destination == "us"
    assert (await house.report(job)).state is State.PROCESSED


async def test_a_consumer_who_cannot_read_has_every_copy_looked_at() -> None:
    house = a_house()
    session = await whole(house)
    for names in (["default"], ["eu", "us"]):
        assert (await house.session(session.id)).state is State.VERIFIED
        job = await house.leased()
        await gone(house, session, *names, is_told=False)
        await house.release(job.id, token=job.lease.token, epoch=job.lease.epoch, cause="infrastructure")
        await house.looks()
        after = await house.session(session.id)
        assert [copy_of(after, name).state for name in names] == [State.FAILED] * len(names)
        house.clock.advance(HOUR)
    assert reason_of(await house.session(session.id)) == OBJECT_MISSING


@pytest.mark.parametrize("is_answer_lost", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("burns_at", range(1, 26, 2))
async def test_whoever_dies_meanwhile_it_fails_once(burns_at: int, is_answer_lost: bool) -> None:
    house = a_house()
    session = await whole(house)
    house.fuse.burns_at, house.fuse.is_answer_lost = house.fuse.calls + burns_at, is_answer_lost

    for name in NAMES:
        await survive(house, lambda name=name: gone(house, session, name))
    await house.pass_time(HOUR)

    after = await house.session(session.id)
    assert (after.state, reason_of(after), states(after)) == (State.FAILED, OBJECT_MISSING, [State.FAILED] * 3)
    assert await house.states() == [State.PENDING, State.VERIFIED, State.FAILED]


async def test_whoever_holds_the_job_is_left_to_finish_when_the_copy_of_his_zone_goes() -> None:
    house = a_house()
    session = await whole(house)
    (job,) = await house.lease(1, worker="w", wait=timedelta(0), zones=US)
    await gone(house, session, "us")
    after = await house.finish(job.id, report_of(job, "processed"), zones=US)  # he may have read it all
    assert (after.state, states(after)) == (State.PROCESSED, [State.VERIFIED, State.VERIFIED, State.FAILED])
    assert await house.is_at_rest()


async def test_nobody_reports_from_a_zone_where_no_copy_ever_was() -> None:
    house = a_house(required=1)
    made = await minted(house)
    send(house, made, "eu")
    await come(house, made.session, "eu")
    job = await house.leased()
    with pytest.raises(LeaseLost):
        await house.finish(job.id, report_of(job, "processed"), zones=US)


async def test_whoever_holds_the_job_is_left_to_finish_when_the_last_copy_goes() -> None:
    house = a_house()
    session = await whole(house)
    (job,) = await house.lease(1, worker="w", wait=timedelta(0), zones=US)
    await gone(house, session, *NAMES)
    with pytest.raises(LeaseLost):  # there is no read that could be given
        await house.renew(job.id, token=job.lease.token, epoch=job.lease.epoch, zones=US)
    assert (await house.finish(job.id, report_of(job, "processed"), zones=US)).state is State.PROCESSED
    assert await house.is_at_rest()


async def test_a_job_of_which_all_copies_went_while_its_holder_died_fails() -> None:
    house = a_house()
    session = await whole(house)
    assert await house.lease(1, worker="w", wait=timedelta(0), zones=US)
    await gone(house, session, *NAMES)
    house.clock.advance(LEASE)
    assert await house.lease(1, worker="w", wait=timedelta(0), zones=US) == []  # there is nothing to read
    await house.looks()
    after = await house.session(session.id)
    assert (after.state, reason_of(after)) == (State.FAILED, OBJECT_MISSING)
    assert await house.is_at_rest()


async def test_a_copy_that_is_gone_is_no_failed_job() -> None:
    house = a_house()
    session = await whole(house)
    copy = copy_of(session, "us")
    info = house.stores["us"].stored[copy.key]
    await gone(house, session, "us")
    house.stores["us"].stored[copy.key] = info
    assert [dead async for dead in house.ledger.in_state(State.FAILED)] == []
    with pytest.raises(SessionNotFound):
        await Revive(buckets=house.buckets, sessions=house.ledger, clock=house.clock)(copy.id)
    assert (await house.leased()).id == session.id
