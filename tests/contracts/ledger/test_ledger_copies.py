"""Copies: sessions that serve another. They begin, end and are replaced in one step with what that makes of it."""

import asyncio
from datetime import datetime

import pytest
from ledger_samples import (
    DAY,
    DESTINATION,
    HOLD,
    INFO,
    NOW,
    PRINCIPAL,
    SECOND,
    a_new,
    a_session,
    an_idempotency,
    created,
    events_of,
    leased,
    states_of,
)
from msgspec.structs import replace

from broker.contract import Reason, State
from broker.domain.errors import QuotaExceeded
from broker.domain.fan_out import abort_all, derived, give_up, lapse, note_of, replaced
from broker.domain.sessions import Change, Session, expire, reject, removed, verify
from broker.ledger.memory import MemoryLedger
from broker.ledger.redis import RedisLedger
from broker.ports import Ledger, NewSession, Quota, Selection, Usage

Twin = MemoryLedger | RedisLedger

PLACES = ("eu", "us")
WRONG = Reason(code="size-mismatch", message="declared otherwise")


def a_fan_out(shard: int = 0, *, required: int = 2, places: tuple[str, ...] = PLACES) -> NewSession:
    """Pending, as all of its copies."""
    fan_out = a_session(shard)
    copies = [a_copy(fan_out, place) for place in places]
    facts = replace(fan_out.facts, copies=tuple(map(note_of, copies)), required=required)
    new = tuple(a_new(copy, look_at=NOW + 2 * SECOND) for copy in copies)
    return NewSession(session=replace(fan_out, facts=facts), look_at=NOW + DAY, copies=new)


def a_copy(fan_out: Session, place: str) -> Session:
    return a_session(int(fan_out.id[:2], 16), destination=place, copy_of=fan_out.id, destinations=PLACES)


async def begun(ledger: Ledger, new: NewSession | None = None) -> tuple[Session, list[Session]]:
    new = new or a_fan_out(7 % ledger.shards)
    made = await ledger.create(new.session, look_at=new.look_at, idempotency=None, copies=new.copies)
    assert not made.is_replay
    return new.session, [copy.session for copy in new.copies]


async def settle(ledger: Ledger, copy: Session, *, now: datetime = NOW) -> bool:
    """What a look does: again when only the fan-out has moved on. False: the copy itself had."""
    while True:
        change, fan_out = verify(copy, INFO, DESTINATION, now), await ledger.get(copy.facts.copy_of)
        assert fan_out is not None
        told = derived(fan_out, change.after, DESTINATION, now)
        if await ledger.apply(change, *([told] if told else [])):
            return True
        if await ledger.get(copy.id) != copy:
            return False


async def test_a_fan_out_begins_with_its_copies(ledger: Ledger) -> None:
    fan_out, copies = await begun(ledger)
    assert await ledger.get_many([fan_out.id, *(copy.id for copy in copies)]) == [fan_out, *copies]


async def test_of_copies_there_is_no_event_no_listing_and_no_usage(ledger: Ledger) -> None:
    fan_out, copies = await begun(ledger)
    for copy in copies:
        assert await events_of(ledger, copy) == []
    assert await states_of(ledger, fan_out) == [(State.PENDING, 0)]
    page = await ledger.find(Selection(principal=PRINCIPAL), after=None, limit=10)
    assert [session.id for session in page.sessions] == [fan_out.id]
    assert await ledger.usage(PRINCIPAL) == Usage(sessions=1, size_bytes=fan_out.facts.spec.size_bytes)


async def test_of_copies_no_census_tells(ledger: Ledger) -> None:
    session, _ = await begun(ledger)
    assert [found async for found in ledger.in_state(State.PENDING)] == [session]


async def test_copies_are_looked_at_and_the_fan_out_at_its_end(ledger: Ledger) -> None:
    fan_out, copies = await begun(ledger)
    due = await ledger.claim(10, now=NOW + 2 * SECOND, hold=HOLD)
    assert {look.id for look in due} == {copy.id for copy in copies}
    assert fan_out.id in {look.id for look in await ledger.claim(10, now=NOW + DAY, hold=HOLD)}


async def test_a_fan_out_that_is_refused_leaves_no_copy(ledger: Ledger) -> None:
    new = a_fan_out()
    with pytest.raises(QuotaExceeded):
        await ledger.create(new.session, look_at=NOW, idempotency=None, quota=Quota(sessions=0), copies=new.copies)
    assert await ledger.get_many([copy.session.id for copy in new.copies]) == [None, None]


async def test_the_same_request_again_leaves_no_second_copies(ledger: Ledger, other: Ledger) -> None:
    news = [a_fan_out() for _ in range(4)]
    made = await asyncio.gather(
        *(
            at.create(new.session, look_at=NOW, idempotency=an_idempotency(), copies=new.copies)
            for new, at in zip(news, (ledger, other) * 2, strict=True)
        )
    )
    (winner,) = {each.session.id for each in made}
    for new in news:
        found = await ledger.get_many([copy.session.id for copy in new.copies])
        assert all(found) if new.session.id == winner else found == [None, None]


async def test_a_batch_may_mix_sessions_with_and_without_copies(ledger: Ledger) -> None:
    items = [a_new(a_session(0)), a_fan_out(0), a_new(a_session(0)), *(a_fan_out(0) for _ in range(30))]
    made = await ledger.create_many(items)
    assert [each.session.id for each in made if not isinstance(each, Exception)] == [each.session.id for each in items]
    for item in items:
        found = await ledger.get_many([copy.session.id for copy in item.copies])
        assert found == [copy.session for copy in item.copies]


async def test_a_copy_and_its_fan_out_change_together(ledger: Ledger) -> None:
    fan_out, copies = await begun(ledger)
    for copy in copies:
        assert await settle(ledger, copy)
    now = await ledger.get(fan_out.id)
    assert now is not None
    assert now.state is State.VERIFIED
    assert [copy.state for copy in now.facts.copies] == [State.VERIFIED] * 2
    assert await states_of(ledger, fan_out) == [(State.PENDING, 0), (State.VERIFIED, 0)]
    assert await ledger.usage(PRINCIPAL) == Usage(sessions=0, size_bytes=0)
    assert (await leased(ledger)).id == fan_out.id
    assert await ledger.lease(10, worker="w", now=NOW, until=NOW + HOLD) == []


@pytest.mark.parametrize("round_", range(5))
async def test_copies_that_settle_at_the_same_moment_make_one_job(ledger: Ledger, other: Ledger, round_: int) -> None:
    fan_out, copies = await begun(ledger, a_fan_out(round_ % ledger.shards, places=("eu", "us", "ap"), required=3))
    tries = [settle(at, copy) for copy in copies for at in (ledger, other)]
    assert sum(await asyncio.gather(*tries)) == 3
    assert await states_of(ledger, fan_out) == [(State.PENDING, 0), (State.VERIFIED, 0)]
    assert len(await ledger.lease(10, worker="w", now=NOW, until=NOW + HOLD)) == 1


async def test_of_several_changes_all_are_written_or_none(ledger: Ledger) -> None:
    fan_out, (eu, us) = await begun(ledger)
    assert await settle(ledger, us)
    stale = derived(fan_out, verify(eu, INFO, DESTINATION, NOW).after, DESTINATION, NOW)  # knows nothing of `us`
    assert stale is not None
    assert not await ledger.apply(verify(eu, INFO, DESTINATION, NOW), stale)
    assert not await ledger.apply(stale, verify(eu, INFO, DESTINATION, NOW))
    assert await ledger.get(eu.id) == eu
    assert await states_of(ledger, fan_out) == [(State.PENDING, 0)]


async def test_what_stays_keeps_look_job_and_end(ledger: Ledger) -> None:
    fan_out, (eu, us) = await begun(ledger, a_fan_out(required=1))
    assert await settle(ledger, eu)
    job = await leased(ledger, until=NOW + HOLD)
    assert job.id == fan_out.id
    assert await settle(ledger, us)  # while somebody works on it
    assert await ledger.lease(10, worker="w", now=NOW + HOLD - SECOND, until=NOW + 2 * HOLD) == []
    assert (await leased(ledger, now=NOW + HOLD)).progress.epoch == 2
    assert await states_of(ledger, fan_out) == [
        (State.PENDING, 0),
        (State.VERIFIED, 0),
        (State.PROCESSING, 1),
        (State.PROCESSING, 2),
    ]


async def test_a_bad_end_of_a_copy_leaves_the_look_at_the_fan_out_s_end(ledger: Twin) -> None:
    fan_out, (eu, _) = await begun(ledger)
    change = expire(eu, DESTINATION, NOW)
    told = derived(fan_out, change.after, DESTINATION, NOW)
    assert told is not None
    assert await ledger.apply(change, told)
    (tombstone,) = await ledger.tombstones.find_many([eu.id])
    assert tombstone is not None
    assert fan_out.id in {look.id for look in await ledger.claim(10, now=NOW + DAY, hold=HOLD)}
    assert await ledger.usage(PRINCIPAL) == Usage(sessions=1, size_bytes=fan_out.facts.spec.size_bytes)


async def test_a_copy_that_comes_late_loses_its_tombstone_unheard(ledger: Twin) -> None:
    fan_out, (eu, _) = await begun(ledger)
    late = expire(eu, DESTINATION, NOW)
    told = derived(fan_out, late.after, DESTINATION, NOW)
    assert told is not None
    assert await ledger.apply(late, told)
    assert await settle(ledger, late.after)
    assert await ledger.tombstones.find_many([eu.id]) == [None]
    assert await events_of(ledger, eu) == []


async def test_a_copy_begins_with_the_change_that_names_it(ledger: Ledger) -> None:
    fan_out, (eu, us) = await begun(ledger)
    change = reject(eu, INFO, WRONG, DESTINATION, NOW)
    told = derived(fan_out, change.after, DESTINATION, NOW)
    assert told is not None
    assert await ledger.apply(change, told)
    fresh = a_copy(fan_out, "eu")
    (old, _) = told.after.facts.copies
    step = replaced(told.after, old, fresh)
    assert await ledger.apply(step, begins=a_new(fresh, look_at=NOW + SECOND))
    assert await ledger.get(fresh.id) == fresh
    assert await events_of(ledger, fresh) == []
    assert fresh.id in {look.id for look in await ledger.claim(10, now=NOW + SECOND, hold=HOLD)}
    assert await settle(ledger, us)
    assert await settle(ledger, fresh)
    assert (await leased(ledger)).id == fan_out.id


async def test_of_two_that_replace_a_copy_one_does(ledger: Ledger, other: Ledger) -> None:
    fan_out, _ = await begun(ledger)
    fresh = [a_copy(fan_out, "eu") for _ in range(4)]
    done = await asyncio.gather(
        *(
            at.apply(replaced(fan_out, fan_out.facts.copies[0], copy), begins=a_new(copy))
            for copy, at in zip(fresh, (ledger, other) * 2, strict=True)
        )
    )
    assert sum(done) == 1
    found = await ledger.get_many([copy.id for copy in fresh])
    assert [session is not None for session in found] == done


async def test_a_copy_does_not_begin_where_a_record_is(ledger: Ledger) -> None:
    fan_out, (eu, _) = await begun(ledger)
    step = replaced(fan_out, fan_out.facts.copies[0], a_copy(fan_out, "eu"))
    assert not await ledger.apply(step, begins=a_new(eu))
    assert await ledger.get(fan_out.id) == fan_out


async def test_a_fan_out_is_given_up_with_all_of_its_copies(ledger: Ledger) -> None:
    fan_out, copies = await begun(ledger)
    changes = [change for copy in copies if (change := give_up(copy, DESTINATION, NOW)) is not None]
    whole = abort_all(fan_out, [change.after for change in changes], DESTINATION, NOW)
    assert await ledger.apply(whole, *changes)
    found = await ledger.get_many([fan_out.id, *(copy.id for copy in copies)])
    assert [session.state for session in found if session] == [State.ABORTED] * 3
    assert await states_of(ledger, fan_out) == [(State.PENDING, 0), (State.ABORTED, 0)]
    assert await ledger.usage(PRINCIPAL) == Usage(sessions=0, size_bytes=0)


async def test_a_fan_out_that_was_not_whole_in_time_says_what_is_missing(ledger: Ledger) -> None:
    fan_out, (eu, us) = await begun(ledger)
    assert await settle(ledger, us)
    now = await ledger.get(fan_out.id)
    assert now is not None
    assert await ledger.apply(lapse(now, DESTINATION.policy, NOW + DAY))
    (event,) = (await events_of(ledger, fan_out))[1:]
    assert event.reason is not None
    assert (event.reason.code, event.reason.message) == (
        "copies-missing",
        "1 of 2 copies were there in time; missing: eu",
    )
    assert await settle(ledger, eu, now=NOW + DAY)  # late, and yet it makes it whole
    assert (await leased(ledger, now=NOW + 2 * DAY, until=NOW + 3 * DAY)).id == fan_out.id


async def test_changes_of_plain_sessions_are_as_they_were(ledger: Ledger) -> None:
    session = await created(ledger)
    change = Change(before=session, after=replace(session, progress=replace(session.progress, revision=1)), stays=True)
    assert await ledger.apply(change)
    assert {look.id for look in await ledger.claim(1, now=NOW, hold=HOLD)} == {session.id}
    assert not await ledger.apply(removed(session, DESTINATION))
