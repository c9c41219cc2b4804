"""`Sessions`: records, and the one way to change them."""

import asyncio
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
    an_idempotency,
    created,
    events_of,
    eventually,
    leased,
    states_of,
    verified,
)
from msgspec.structs import replace

from broker.contract import Reason, State
from broker.domain.errors import IdempotencyKeyReused
from broker.domain.jobs import finish, retry
from broker.domain.keys import new_session_id
from broker.domain.policy import Destination
from broker.domain.sessions import abort, expire, reject, remint, removed, verify
from broker.ports import Ledger


async def test_a_created_session_is_read_back_as_it_was(ledger: Ledger) -> None:
    session = a_session(ledger.shards - 1)
    answer = await ledger.create(session, look_at=NOW, idempotency=None)
    assert not answer.is_replay
    assert answer.session == session
    assert await ledger.get(session.id) == session


async def test_an_unknown_id_has_no_session(ledger: Ledger) -> None:
    assert await ledger.get(new_session_id(0)) is None
    assert await ledger.get(new_session_id(255)) is None


async def test_many_sessions_come_in_the_order_asked_for(ledger: Ledger) -> None:
    one, two = await created(ledger, 0), await created(ledger, 5)
    ids = [two.id, new_session_id(0), one.id, two.id]
    assert await ledger.get_many(ids) == [two, None, one, two]
    assert await ledger.get_many([]) == []


async def test_creating_an_id_again_changes_nothing(ledger: Ledger) -> None:
    first = await created(ledger)
    answer = await ledger.create(a_session(session_id=first.id, at=NOW + DAY), look_at=NOW + DAY, idempotency=None)
    assert answer.is_replay
    assert answer.session == first
    assert await ledger.get(first.id) == first
    assert await states_of(ledger, first) == [(State.PENDING, 0)]
    assert await ledger.next_due() == NOW


async def test_the_same_request_finds_the_session_it_made(ledger: Ledger) -> None:
    first = a_session()
    await ledger.create(first, look_at=NOW, idempotency=an_idempotency())
    again = await ledger.create(a_session(), look_at=NOW, idempotency=an_idempotency())
    assert again.is_replay
    assert again.session == first


async def test_a_replay_shows_the_session_as_it_now_stands(ledger: Ledger) -> None:
    first = a_session()
    await ledger.create(first, look_at=NOW, idempotency=an_idempotency())
    await ledger.apply(verify(first, INFO, DESTINATION, NOW))
    again = await ledger.create(a_session(), look_at=NOW, idempotency=an_idempotency())
    assert again.session.state is State.VERIFIED


async def test_an_idempotency_key_with_another_body_is_refused(ledger: Ledger) -> None:
    await ledger.create(a_session(), look_at=NOW, idempotency=an_idempotency(body="one"))
    session = a_session()
    with pytest.raises(IdempotencyKeyReused):
        await ledger.create(session, look_at=NOW, idempotency=an_idempotency(body="other"))
    assert await ledger.get(session.id) is None
    assert await events_of(ledger, session) == []


async def test_another_idempotency_key_makes_another_session(ledger: Ledger) -> None:
    await ledger.create(a_session(), look_at=NOW, idempotency=an_idempotency("one"))
    assert not (await ledger.create(a_session(), look_at=NOW, idempotency=an_idempotency("other"))).is_replay


async def test_an_idempotency_key_is_forgotten_in_its_time(ledger: Ledger) -> None:
    await ledger.create(a_session(), look_at=NOW, idempotency=an_idempotency(keep_for=timedelta(milliseconds=20)))

    async def is_forgotten() -> bool:
        try:
            answer = await ledger.create(a_session(), look_at=NOW, idempotency=an_idempotency(body="other"))
        except IdempotencyKeyReused:
            return False
        return not answer.is_replay

    await eventually(is_forgotten)


async def test_concurrent_twins_make_one_session(ledger: Ledger, other: Ledger) -> None:
    sessions = [a_session() for _ in range(20)]
    answers = await asyncio.gather(
        *(
            (ledger, other)[number % 2].create(session, look_at=NOW, idempotency=an_idempotency())
            for number, session in enumerate(sessions)
        )
    )
    assert len({answer.session.id for answer in answers}) == 1
    assert sum(not answer.is_replay for answer in answers) == 1
    assert sum(session is not None for session in await ledger.get_many([one.id for one in sessions])) == 1


async def test_a_change_is_written_with_its_schedules_and_its_event(ledger: Ledger) -> None:
    session = await created(ledger, 3)
    change = verify(session, INFO, DESTINATION, NOW)
    assert await ledger.apply(change)
    assert await ledger.get(session.id) == change.after
    assert await ledger.next_due() is None
    assert await states_of(ledger, session) == [(State.PENDING, 0), (State.VERIFIED, 0)]
    assert [job.id for job in await ledger.lease(5, worker="", now=NOW, until=NOW + HOLD)] == [session.id]


async def test_a_change_without_a_job_makes_nothing_visible(ledger: Ledger) -> None:
    session = await created(ledger)
    assert await ledger.apply(reject(session, INFO, Reason(code="x", message="y"), DESTINATION, NOW))
    assert await ledger.lease(5, worker="", now=NOW + DAY, until=NOW + 2 * DAY) == []


async def test_a_fresh_url_moves_the_look_and_is_no_event(ledger: Ledger) -> None:
    session = await created(ledger)
    change = remint(session, NOW + DAY, NOW + 7 * SECOND)
    assert await ledger.apply(change)
    assert await ledger.get(session.id) == change.after
    assert await ledger.next_due() == NOW + 7 * SECOND
    assert await states_of(ledger, session) == [(State.PENDING, 0)]


async def test_where_a_change_puts_the_next_look_wins_over_a_hint_before_it(ledger: Ledger) -> None:
    session = await created(ledger, look_at=NOW + HOLD)
    assert await ledger.hint(session.id, None, now=NOW)
    await ledger.apply(abort(session, DESTINATION, NOW))
    assert await ledger.claim(5, now=NOW, hold=HOLD) == []
    assert await ledger.next_due() is not None


async def test_a_change_from_an_old_revision_is_refused_without_effect(ledger: Ledger) -> None:
    session = await created(ledger)
    first = verify(session, INFO, DESTINATION, NOW)
    assert await ledger.apply(first)
    assert not await ledger.apply(expire(session, DESTINATION, NOW))
    assert await ledger.get(session.id) == first.after
    assert await states_of(ledger, session) == [(State.PENDING, 0), (State.VERIFIED, 0)]


async def test_a_change_of_a_session_that_is_not_there_is_refused(ledger: Ledger) -> None:
    session = a_session()
    assert not await ledger.apply(verify(session, INFO, DESTINATION, NOW))
    assert await ledger.get(session.id) is None
    assert await events_of(ledger, session) == []
    assert await ledger.lease(5, worker="", now=NOW, until=NOW + HOLD) == []


async def test_of_concurrent_changes_of_one_revision_exactly_one_wins(ledger: Ledger, other: Ledger) -> None:
    session = await created(ledger)
    changes = [verify(session, INFO, DESTINATION, NOW), abort(session, DESTINATION, NOW)] * 10
    won = await asyncio.gather(*((ledger, other)[number % 2].apply(change) for number, change in enumerate(changes)))
    assert sum(won) == 1
    assert await ledger.get(session.id) == changes[won.index(True)].after
    assert len(await states_of(ledger, session)) == 2


async def test_a_terminal_record_is_forgotten_in_its_time(ledger: Ledger) -> None:
    session = await created(ledger)
    brief = kept_for(timedelta(milliseconds=20))
    assert await ledger.apply(expire(session, brief, NOW))

    async def is_forgotten() -> bool:
        return await ledger.get(session.id) is None

    await eventually(is_forgotten)


async def test_a_record_that_lives_again_is_kept(ledger: Ledger) -> None:
    session = await created(ledger)
    gone = expire(session, kept_for(timedelta(milliseconds=300)), NOW)
    assert await ledger.apply(gone)
    assert await ledger.apply(verify(gone.after, INFO, DESTINATION, NOW))
    await asyncio.sleep(0.4)
    assert await ledger.get(session.id) is not None


async def test_a_removal_is_written_and_is_no_event(ledger: Ledger) -> None:
    session = await created(ledger)
    rejection = reject(session, INFO, Reason(code="x", message="y"), DESTINATION, NOW)
    await ledger.apply(rejection)
    assert await ledger.apply(removed(rejection.after, DESTINATION))
    stored = await ledger.get(session.id)
    assert stored is not None
    assert stored.facts.is_removed
    assert await ledger.next_due() is None
    assert len(await states_of(ledger, session)) == 2


async def test_what_a_consumer_reports_is_kept_whole(ledger: Ledger) -> None:
    await verified(ledger)
    change = finish(await leased(ledger), State.PROCESSED, NOW, POLICY, result=b'{"rows": 7, "n\xc3\xa4me": "\\u0000"}')
    assert await ledger.apply(change)
    assert await ledger.get(change.after.id) == change.after


async def test_counts_and_timeline_survive(ledger: Ledger) -> None:
    await verified(ledger)
    change = retry(await leased(ledger), Reason(code="boom", message="…"), NOW, POLICY, timedelta(0))
    assert await ledger.apply(change)
    stored = await ledger.get(change.after.id)
    assert stored is not None
    assert stored.attempts == change.after.attempts
    assert [step.state for step in stored.timeline] == ["pending", "verified", "processing", "verified"]


def kept_for(retention: timedelta) -> Destination:
    return replace(DESTINATION, policy=replace(POLICY, retention=retention))
