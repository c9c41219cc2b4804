"""`Looks`: the one schedule of events, hints, reconciliation and deadlines, and its races."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from ledger_samples import (
    DAY,
    DESTINATION,
    HOLD,
    INFO,
    NOW,
    POLICY,
    SECOND,
    STRAY,
    a_session,
    created,
    eventually,
    leased,
    states_of,
    verified,
)

from broker.contract import Reason, State
from broker.domain.jobs import finish
from broker.domain.keys import new_session_id
from broker.domain.sessions import Change, Session, abort, erase, erased, expire, reject, verify
from broker.ports import DueLook, Ledger

BAD = Reason(code="size-mismatch", message="…")


async def claimed(ledger: Ledger) -> DueLook:
    (look,) = await ledger.claim(1, now=NOW, hold=HOLD)
    return look


async def test_a_new_session_is_due_at_its_first_look(ledger: Ledger) -> None:
    session = await created(ledger, 2, look_at=NOW + SECOND)
    assert await ledger.claim(5, now=NOW, hold=HOLD) == []
    (look,) = await ledger.claim(5, now=NOW + SECOND, hold=HOLD)
    assert (look.id, look.session, look.stray) == (session.id, session, None)


async def test_a_session_remembers_that_the_bucket_told_of_it(ledger: Ledger) -> None:
    told, untold = await created(ledger), await created(ledger)
    await ledger.hint(told.id, STRAY, now=NOW)
    looks = {look.id: look.session for look in await ledger.claim(5, now=NOW, hold=HOLD)}
    heard = {session_id: session.progress.is_heard for session_id, session in looks.items() if session}
    assert heard == {told.id: True, untold.id: False}
    found = looks[told.id]
    assert found is not None
    assert await ledger.apply(verify(found, INFO, DESTINATION, NOW))
    assert (await leased(ledger)).progress.is_heard


async def test_a_claim_takes_no_more_than_its_limit_and_the_earliest_of_a_shard_first(ledger: Ledger) -> None:
    sessions = [await created(ledger, look_at=NOW - number * SECOND) for number in range(5)]
    looks = await ledger.claim(2, now=NOW, hold=HOLD)
    assert [look.id for look in looks] == [sessions[4].id, sessions[3].id]


async def test_claims_reach_every_shard_before_a_busy_one_is_empty(ledger: Ledger) -> None:
    for shard in range(ledger.shards):
        for _ in range(6):
            await created(ledger, shard)
    seen: set[str] = set()
    for _ in range(ledger.shards):
        seen |= {look.id[:2] for look in await ledger.claim(3, now=NOW, hold=HOLD)}
    assert len(seen) > ledger.shards // 2


async def test_two_claimers_never_get_the_same_look_within_the_hold(ledger: Ledger, other: Ledger) -> None:
    sessions = [await created(ledger, number) for number in range(40)]
    batches = await asyncio.gather(*((ledger, other)[number % 2].claim(7, now=NOW, hold=HOLD) for number in range(12)))
    ids = [look.id for batch in batches for look in batch]
    assert sorted(ids) == sorted(session.id for session in sessions)
    assert await ledger.claim(5, now=NOW + HOLD - SECOND, hold=HOLD) == []


async def test_the_look_of_a_dead_claimer_comes_back_after_the_hold(ledger: Ledger, other: Ledger) -> None:
    session = await created(ledger)
    await claimed(ledger)
    (again,) = await other.claim(5, now=NOW + HOLD, hold=HOLD)
    assert again.id == session.id


async def test_a_postponed_look_comes_when_it_was_put_off_to(ledger: Ledger) -> None:
    session = await created(ledger)
    await ledger.postpone(await claimed(ledger), NOW + 2 * SECOND)
    assert await ledger.next_due() == NOW + 2 * SECOND
    assert await ledger.claim(5, now=NOW + SECOND, hold=HOLD) == []
    assert [look.id for look in await ledger.claim(5, now=NOW + 2 * SECOND, hold=HOLD)] == [session.id]


async def test_a_dropped_look_does_not_come_back(ledger: Ledger) -> None:
    await created(ledger)
    await ledger.postpone(await claimed(ledger), None)
    assert await ledger.next_due() is None
    assert await ledger.claim(5, now=NOW + DAY, hold=HOLD) == []


async def test_a_hint_moves_the_look_to_now(ledger: Ledger) -> None:
    session = await created(ledger, 9, look_at=NOW + HOLD)
    assert await ledger.hint(session.id, None, now=NOW)
    assert [look.id for look in await ledger.claim(5, now=NOW, hold=HOLD)] == [session.id]


async def test_duplicate_hints_are_one_look(ledger: Ledger, other: Ledger) -> None:
    session = await created(ledger, look_at=NOW + HOLD)
    moved = await asyncio.gather(*((ledger, other)[n % 2].hint(session.id, None, now=NOW) for n in range(10)))
    assert sum(moved) == 1
    assert not await ledger.hint(session.id, None, now=NOW + SECOND)
    assert len(await ledger.claim(5, now=NOW + SECOND, hold=HOLD)) == 1
    assert await ledger.claim(5, now=NOW + SECOND, hold=HOLD) == []


@pytest.mark.parametrize("until", [NOW + DAY, None], ids=["put off", "dropped"])
async def test_a_hint_between_claim_and_postpone_stands(ledger: Ledger, other: Ledger, until: datetime | None) -> None:
    session = await created(ledger)
    look = await claimed(ledger)
    assert await other.hint(session.id, None, now=NOW + SECOND)
    await ledger.postpone(look, until)
    assert [look.id for look in await ledger.claim(5, now=NOW + SECOND, hold=HOLD)] == [session.id]


async def test_postponing_an_old_claim_leaves_the_newer_one_alone(ledger: Ledger) -> None:
    await created(ledger)
    old = await claimed(ledger)
    (new,) = await ledger.claim(1, now=NOW + HOLD, hold=HOLD)
    await ledger.postpone(old, None)
    assert await ledger.next_due() == NOW + 2 * HOLD
    await ledger.postpone(new, None)
    assert await ledger.next_due() is None


def _aborted(session: Session) -> Change:
    return abort(session, DESTINATION, NOW)


def _expired(session: Session) -> Change:
    return expire(session, DESTINATION, NOW)


def _rejected(session: Session) -> Change:
    return reject(session, INFO, BAD, DESTINATION, NOW)


@pytest.mark.parametrize("settle", [_aborted, _expired, _rejected])
async def test_a_hint_about_bytes_that_nobody_waits_for_asks_for_a_look(
    ledger: Ledger, settle: Callable[[Session], Change]
) -> None:
    session = await created(ledger)
    await ledger.apply(settle(session))
    assert await ledger.hint(session.id, None, now=NOW)
    assert [look.id for look in await ledger.claim(5, now=NOW, hold=HOLD)] == [session.id]


async def test_a_hint_about_a_settled_session_changes_nothing(ledger: Ledger) -> None:
    session = await verified(ledger)
    assert not await ledger.hint(session.id, STRAY, now=NOW)
    job = await leased(ledger)
    assert not await ledger.hint(session.id, STRAY, now=NOW)
    await ledger.apply(finish(job, State.PROCESSED, NOW, POLICY))
    assert not await ledger.hint(session.id, STRAY, now=NOW)
    assert await ledger.next_due() is None


@pytest.mark.parametrize("principal", ["a", "p" * 31, "p" * 32, "p" * 64], ids=len)
@pytest.mark.parametrize("name", ["d", "default", "d" * 31, "d" * 32, "d" * 200, "défaut"])
async def test_a_hint_moves_a_session_of_its_own_destination_alone(ledger: Ledger, principal: str, name: str) -> None:
    session = a_session(principal=principal, destination=name, metadata={"destination": "elsewhere"})
    await ledger.create(session, look_at=NOW + HOLD, idempotency=None)
    for other in ("elsewhere", f"{name}s", name[:-1], principal, session.facts.bucket, ""):
        assert not await ledger.hint(session.id, replace(STRAY, destination=other), now=NOW)
        record = await ledger.get(session.id)
        assert record is not None
        assert not record.progress.is_heard
    assert await ledger.claim(5, now=NOW, hold=HOLD) == []
    assert await ledger.hint(session.id, replace(STRAY, destination=name), now=NOW)
    assert [look.id for look in await ledger.claim(5, now=NOW, hold=HOLD)] == [session.id]


async def test_many_hints_do_what_each_of_them_does(ledger: Ledger) -> None:
    told = [await created(ledger, number, look_at=NOW + HOLD) for number in range(20)]
    elsewhere, settled = a_session(destination="other"), await verified(ledger)
    await ledger.create(elsewhere, look_at=NOW + HOLD, idempotency=None)
    strays = [new_session_id(number % ledger.shards) for number in range(5)]
    foreign = new_session_id(255)
    ids = [*(session.id for session in told), elsewhere.id, settled.id, *strays, foreign]
    hints = [(session_id, STRAY) for session_id in ids]
    assert await ledger.hint_many([*hints, (new_session_id(0), None), hints[0]], now=NOW) == 25
    assert await ledger.hint_many(hints, now=NOW) == 0
    looks = await ledger.claim(50, now=NOW, hold=HOLD)
    assert {look.id: (look.session is not None, look.stray) for look in looks} == {
        **{session.id: (True, None) for session in told},
        **dict.fromkeys(strays, (False, STRAY)),
    }
    assert all(look.session.progress.is_heard for look in looks if look.session)


async def test_no_hints_are_nothing(ledger: Ledger) -> None:
    assert await ledger.hint_many([], now=NOW) == 0


async def test_a_hint_about_an_unknown_id_without_its_object_is_nothing(ledger: Ledger) -> None:
    assert not await ledger.hint(new_session_id(0), None, now=NOW)
    assert await ledger.next_due() is None


async def test_a_stray_object_is_scheduled_with_where_it_is(ledger: Ledger) -> None:
    session_id = new_session_id(ledger.shards - 1)
    assert await ledger.hint(session_id, STRAY, now=NOW)
    assert not await ledger.hint(session_id, STRAY, now=NOW)
    (look,) = await ledger.claim(5, now=NOW, hold=HOLD)
    assert (look.id, look.session, look.stray) == (session_id, None, STRAY)


async def test_a_dropped_stray_is_forgotten(ledger: Ledger) -> None:
    session_id = new_session_id(0)
    await ledger.hint(session_id, STRAY, now=NOW)
    await ledger.postpone(await claimed(ledger), None)
    assert await ledger.claim(5, now=NOW + DAY, hold=HOLD) == []
    assert await ledger.claim_one(session_id, now=NOW, hold=HOLD, every=SECOND) is None


async def test_an_adopted_stray_is_looked_at_as_a_session(ledger: Ledger) -> None:
    session = a_session()
    await ledger.hint(session.id, STRAY, now=NOW)
    await claimed(ledger)
    await ledger.create(session, look_at=NOW, idempotency=None)
    look = await claimed(ledger)
    assert (look.session, look.stray) == (session, None)


async def test_a_stray_of_a_shard_that_there_is_not_is_refused(ledger: Ledger) -> None:
    assert not await ledger.hint(new_session_id(255), STRAY, now=NOW)
    assert await ledger.next_due() is None


async def test_a_due_id_without_a_record_is_dropped_and_hides_nothing(ledger: Ledger) -> None:
    gone, stays = await created(ledger, look_at=NOW - SECOND), await created(ledger)
    brief = expire(gone, DESTINATION, NOW)
    await ledger.apply(
        Change(before=gone, after=brief.after, look_at=NOW - SECOND, keep_for=timedelta(milliseconds=10))
    )

    async def is_gone() -> bool:
        return await ledger.get(gone.id) is None

    await eventually(is_gone)
    assert [look.id for look in await ledger.claim(1, now=NOW, hold=HOLD)] == [stays.id]
    assert await ledger.next_due() == NOW + HOLD


async def test_one_session_is_claimed_on_demand_whether_due_or_not(ledger: Ledger) -> None:
    session = await created(ledger, 4, look_at=NOW + DAY)
    look = await ledger.claim_one(session.id, now=NOW, hold=HOLD, every=SECOND)
    assert look is not None
    assert look.session == session
    assert await ledger.next_due() == NOW + HOLD
    await ledger.postpone(look, NOW + DAY)
    assert await ledger.next_due() == NOW + DAY


async def test_on_demand_a_session_is_claimed_once_in_a_while(ledger: Ledger, other: Ledger) -> None:
    session, every = await created(ledger), timedelta(milliseconds=200)
    claims = await asyncio.gather(
        *((ledger, other)[n % 2].claim_one(session.id, now=NOW, hold=HOLD, every=every) for n in range(8))
    )
    assert sum(claim is not None for claim in claims) == 1

    async def is_open_again() -> bool:
        return await ledger.claim_one(session.id, now=NOW, hold=HOLD, every=every) is not None

    await eventually(is_open_again)


async def test_on_demand_a_settled_session_is_shown_and_not_scheduled(ledger: Ledger) -> None:
    session = await verified(ledger)
    look = await ledger.claim_one(session.id, now=NOW, hold=HOLD, every=SECOND)
    assert look is not None
    assert look.session == session
    assert await ledger.next_due() is None


async def test_on_demand_an_unknown_id_is_nothing(ledger: Ledger) -> None:
    assert await ledger.claim_one(new_session_id(0), now=NOW, hold=HOLD, every=SECOND) is None


async def test_settling_ends_the_looks(ledger: Ledger) -> None:
    session = await created(ledger)
    await claimed(ledger)
    await ledger.apply(verify(session, INFO, DESTINATION, NOW))
    assert await ledger.claim(5, now=NOW + DAY, hold=HOLD) == []


async def test_the_earliest_look_of_any_shard_is_next(ledger: Ledger) -> None:
    assert await ledger.next_due() is None
    await created(ledger, 0, look_at=NOW + 2 * SECOND)
    await created(ledger, ledger.shards - 1, look_at=NOW + SECOND)
    assert await ledger.next_due() == NOW + SECOND


async def test_an_erased_session_is_due_and_its_job_is_gone(ledger: Ledger, other: Ledger) -> None:
    """An event does not bring its look forward: only what the change itself scheduled does."""
    session = await verified(ledger)
    job = await leased(ledger)
    change = erase(job, DESTINATION, NOW + SECOND)
    assert await ledger.apply(change)
    assert not await other.hint(session.id, None, now=NOW)
    assert await other.lease(1, worker="", now=NOW + DAY, until=NOW + 2 * DAY) == []
    assert await other.renew(session.id, job.progress.epoch, until=NOW + DAY) is None
    (look,) = await other.claim(5, now=NOW + SECOND, hold=HOLD)
    assert look.session == change.after
    assert (await states_of(ledger, session))[-1] == (State.FAILED, 1)
    gone = erased(change.after, DESTINATION, NOW + DAY)
    assert await ledger.apply(gone)
    assert await other.claim(5, now=NOW + 2 * DAY, hold=HOLD) == []
    assert await other.get(session.id) == gone.after
