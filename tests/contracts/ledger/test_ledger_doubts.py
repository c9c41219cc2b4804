"""`Looks.doubt` and what comes of it: whether what was verified is still there is asked of the store, once."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from ledger_samples import (
    DAY,
    DESTINATION,
    HOLD,
    INFO,
    NOW,
    POLICY,
    SECOND,
    a_session,
    created,
    events_of,
    leased,
    states_of,
    verified,
)

from broker.contract import Reason, State
from broker.domain.jobs import finish, release
from broker.domain.keys import new_session_id
from broker.domain.sessions import OBJECT_MISSING, Change, Session, abort, expire, missing, reject
from broker.ports import Ledger

PLACE = DESTINATION.name
BAD = Reason(code="size-mismatch", message="…")


def lost(session: Session) -> Change:
    change = missing(session, DESTINATION, NOW + SECOND)
    assert change is not None
    return change


async def waiting(ledger: Ledger) -> Session:
    return await verified(ledger)


async def processing(ledger: Ledger) -> Session:
    await verified(ledger)
    return await leased(ledger)


async def processed(ledger: Ledger) -> Session:
    change = finish(await processing(ledger), State.PROCESSED, NOW, POLICY)
    assert await ledger.apply(change)
    return change.after


async def failed(ledger: Ledger) -> Session:
    change = finish(await processing(ledger), State.FAILED, NOW, POLICY, reason=BAD)
    assert await ledger.apply(change)
    return change.after


@pytest.mark.parametrize("state", [waiting, processing, processed, failed])
async def test_a_doubt_about_what_was_verified_asks_for_one_look(
    ledger: Ledger, other: Ledger, state: Callable[[Ledger], object]
) -> None:
    session: Session = await state(ledger)  # type: ignore[misc]  # one of ours
    moved = await asyncio.gather(*((ledger, other)[n % 2].doubt(session.id, PLACE, now=NOW) for n in range(8)))
    assert sum(moved) == 1
    (look,) = await ledger.claim(5, now=NOW, hold=HOLD)
    assert look.session == session, "a doubt is not a word in the record"
    await ledger.postpone(look, None)
    assert await ledger.next_due() is None


async def test_a_doubt_does_not_say_that_the_object_came(ledger: Ledger) -> None:
    session = await verified(ledger)
    assert await ledger.doubt(session.id, PLACE, now=NOW)
    assert not (await leased(ledger)).progress.is_heard


async def test_what_waits_for_its_object_or_came_to_nothing_is_not_doubted(ledger: Ledger) -> None:
    for settle in (
        None,
        lambda session: abort(session, DESTINATION, NOW),
        lambda session: expire(session, DESTINATION, NOW),
        lambda session: reject(session, INFO, BAD, DESTINATION, NOW),
    ):
        session = await created(ledger, look_at=NOW + DAY)
        if settle:
            assert await ledger.apply(settle(session))
        assert not await ledger.doubt(session.id, PLACE, now=NOW)
    assert await ledger.claim(5, now=NOW, hold=HOLD) == []


async def test_nobody_doubts_what_is_elsewhere_or_unknown(ledger: Ledger) -> None:
    session = await verified(ledger)
    for name in ("elsewhere", f"{PLACE}s", PLACE[:-1], ""):
        assert not await ledger.doubt(session.id, name, now=NOW)
    assert not await ledger.doubt(new_session_id(0), PLACE, now=NOW)
    assert not await ledger.doubt(new_session_id(255), PLACE, now=NOW)
    assert await ledger.next_due() is None


async def test_a_doubt_between_claim_and_postpone_stands(ledger: Ledger, other: Ledger) -> None:
    session = await verified(ledger)
    await ledger.doubt(session.id, PLACE, now=NOW)
    (look,) = await ledger.claim(1, now=NOW, hold=HOLD)
    assert await other.doubt(session.id, PLACE, now=NOW + SECOND)
    await ledger.postpone(look, None)
    assert len(await ledger.claim(5, now=NOW + SECOND, hold=HOLD)) == 1


async def test_a_job_without_its_object_fails_and_nobody_leases_it(ledger: Ledger, other: Ledger) -> None:
    session = await verified(ledger)
    await ledger.doubt(session.id, PLACE, now=NOW)
    written = await asyncio.gather(ledger.apply(lost(session)), other.apply(lost(session)))
    assert sorted(written) == [False, True]
    assert await ledger.lease(5, worker="w", now=NOW + DAY, until=NOW + 2 * DAY) == []
    assert await ledger.next_due() is None
    assert [event.reason.code for event in await events_of(ledger, session) if event.reason] == [OBJECT_MISSING]


async def test_of_a_lease_and_a_loss_at_one_moment_one_is_too_late(ledger: Ledger, other: Ledger) -> None:
    for number in range(20):
        session = await verified(ledger, number)
        is_lost, jobs = await asyncio.gather(
            ledger.apply(lost(session)), other.lease(1, worker="w", now=NOW, until=NOW + HOLD)
        )
        assert is_lost == (not jobs)
        states = [state for state, _ in await states_of(ledger, session)]
        assert states[-1] is (State.FAILED if is_lost else State.PROCESSING)


async def test_a_loss_under_a_lease_takes_nothing_from_whoever_holds_it(ledger: Ledger) -> None:
    job = await processing(ledger)
    before = await states_of(ledger, job)
    change = lost(job)
    assert await ledger.apply(change)
    assert await ledger.lease(5, worker="w", now=NOW + SECOND, until=NOW + HOLD) == []
    renewed = await ledger.renew(job.id, 1, until=NOW + 2 * HOLD)
    assert renewed is not None
    assert renewed.facts.gone_at == NOW + SECOND
    assert await ledger.lease(5, worker="w", now=NOW + HOLD + SECOND, until=NOW + DAY) == []
    assert await states_of(ledger, job) == before
    assert await ledger.apply(finish(renewed, State.PROCESSED, NOW, POLICY))


async def test_a_loss_after_the_end_is_kept_as_long_as_the_record(ledger: Ledger) -> None:
    session = await processed(ledger)
    before = await states_of(ledger, session)
    assert await ledger.apply(lost(session))
    found = await ledger.get(session.id)
    assert found is not None
    assert (found.state, found.facts.gone_at) == (State.PROCESSED, NOW + SECOND)
    assert missing(found, DESTINATION, NOW + DAY) is None
    assert await states_of(ledger, session) == before


async def test_giving_back_for_trouble_with_the_store_asks_for_a_look_in_the_same_step(ledger: Ledger) -> None:
    job = await processing(ledger)
    assert await ledger.apply(release(job, NOW, POLICY, is_infrastructure=True))
    (look,) = await ledger.claim(5, now=NOW, hold=HOLD)
    assert (look.id, look.session and look.session.state) == (job.id, State.VERIFIED)


async def test_giving_back_to_stop_asks_for_none(ledger: Ledger) -> None:
    job = await processing(ledger)
    assert await ledger.apply(release(job, NOW, POLICY, is_infrastructure=False))
    assert await ledger.next_due() is None


async def test_a_job_is_leased_with_a_look_still_to_come(ledger: Ledger) -> None:
    job = await processing(ledger)
    await ledger.apply(release(job, NOW, POLICY, is_infrastructure=True))
    again = await leased(ledger, now=NOW + DAY, until=NOW + 2 * DAY)
    (look,) = await ledger.claim(5, now=NOW + DAY, hold=HOLD)
    assert look.session == again


async def test_a_foreign_record_is_not_doubted_into(ledger: Ledger) -> None:
    session = a_session()
    assert not await ledger.doubt(session.id, PLACE, now=NOW + timedelta(milliseconds=1))
    assert await ledger.get(session.id) is None
