"""`Listings`, and many sessions at once: what a principal has, and how much of it is pending."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from ledger_samples import (
    DESTINATION,
    HOLD,
    INFO,
    NOW,
    PRINCIPAL,
    SECOND,
    SPEC,
    a_new,
    a_session,
    an_idempotency,
    created,
    leased,
    states_of,
    verified,
)
from msgspec.structs import replace

from broker.contract import Reason, State
from broker.domain.errors import BrokerError, IdempotencyKeyReused, QuotaExceeded
from broker.domain.keys import new_session_id
from broker.domain.sessions import Change, Session, abort, expire, reject, remint, verify
from broker.ports import Created, Ledger, Page, Position, Quota, Selection, Usage

MINE = Selection(principal=PRINCIPAL)
NONE = Usage(sessions=0, size_bytes=0)


def made(answer: Created | BrokerError) -> Session:
    assert isinstance(answer, Created), answer
    return answer.session


async def pages(ledger: Ledger, selection: Selection = MINE, *, limit: int = 3) -> AsyncIterator[Page]:
    end: Position | None = None
    for _ in range(1_000):
        page = await ledger.find(selection, after=end, limit=limit)
        yield page
        end = page.end
        if end is None:
            return
    raise AssertionError("a listing never ends")


async def listed(ledger: Ledger, selection: Selection = MINE, *, limit: int = 3) -> list[Session]:
    return [session async for page in pages(ledger, selection, limit=limit) for session in page.sessions]


# --- many at once


async def test_a_batch_is_what_its_sessions_would_be_one_by_one(ledger: Ledger) -> None:
    items = [a_new(a_session(number % ledger.shards), look_at=NOW + number * SECOND) for number in range(100)]
    answers = await ledger.create_many(items)
    assert [made(answer) for answer in answers] == [item.session for item in items]
    assert not any(answer.is_replay for answer in answers if isinstance(answer, Created))
    assert await ledger.get_many([item.session.id for item in items]) == [item.session for item in items]
    assert await states_of(ledger, items[41].session) == [(State.PENDING, 0)]
    looks = await ledger.claim(1_000, now=NOW + 30 * SECOND, hold=HOLD)
    assert {look.id for look in looks} == {item.session.id for item in items[:31]}


async def test_an_empty_batch_makes_nothing(ledger: Ledger) -> None:
    assert await ledger.create_many([]) == []
    assert await ledger.next_due() is None


async def test_one_bad_item_spoils_no_other(ledger: Ledger) -> None:
    await ledger.create(a_session(), look_at=NOW, idempotency=an_idempotency("one", "body"))
    sessions = [a_session() for _ in range(3)]
    keys = [None, an_idempotency("one", "another body"), an_idempotency("two")]
    answers = await ledger.create_many(
        [a_new(session, idempotency=key) for session, key in zip(sessions, keys, strict=True)]
    )
    assert isinstance(answers[1], IdempotencyKeyReused)
    assert [made(answers[0]), made(answers[2])] == [sessions[0], sessions[2]]
    assert await ledger.get(sessions[1].id) is None
    assert await states_of(ledger, sessions[1]) == []


async def test_the_same_idempotency_key_twice_in_a_batch_makes_one_session(ledger: Ledger) -> None:
    # 100 apart: in different chunks, too
    items = [a_new(a_session(), idempotency=an_idempotency(str(number % 100))) for number in range(200)]
    answers = await ledger.create_many(items)
    assert [made(answer).id for answer in answers] == [item.session.id for item in items[:100]] * 2
    assert [isinstance(answer, Created) and answer.is_replay for answer in answers] == [False] * 100 + [True] * 100
    assert (await ledger.usage(PRINCIPAL)).sessions == 100


async def test_a_batch_that_is_sent_again_finds_its_sessions(ledger: Ledger, other: Ledger) -> None:
    def batch() -> list[Session]:
        return [a_session() for _ in range(60)]

    keys = [an_idempotency(str(number)) for number in range(60)]
    sent = [[a_new(session, idempotency=key) for session, key in zip(batch(), keys, strict=True)] for _ in range(4)]
    answers = await asyncio.gather(
        *((ledger, other)[number % 2].create_many(items) for number, items in enumerate(sent))
    )
    for place in range(60):
        found = [answer[place] for answer in answers]
        assert len({made(one).id for one in found}) == 1
        assert sum(isinstance(one, Created) and not one.is_replay for one in found) == 1
    assert (await ledger.usage(PRINCIPAL)).sessions == 60


# --- listings


async def test_own_sessions_come_newest_first(ledger: Ledger) -> None:
    sessions = [a_session(number % ledger.shards, at=NOW + number * SECOND) for number in range(20)]
    await ledger.create_many([a_new(session) for session in sessions])
    assert await listed(ledger) == sessions[::-1]
    assert await listed(ledger, limit=1_000) == sessions[::-1]
    assert await listed(ledger, Selection(principal="nobody")) == []


async def test_sessions_of_one_moment_are_listed_once_each_by_id(ledger: Ledger) -> None:
    sessions = [a_session(number % ledger.shards) for number in range(150)]
    await ledger.create_many([a_new(session) for session in sessions])
    ids = [session.id for session in await listed(ledger, limit=7)]
    assert ids == sorted((session.id for session in sessions), reverse=True)


async def test_a_page_is_as_long_as_asked_for_and_the_last_one_says_so(ledger: Ledger) -> None:
    for number in range(6):
        await created(ledger, number)
    assert [len(page.sessions) async for page in pages(ledger, limit=4)] == [4, 2]
    assert [len(page.sessions) async for page in pages(ledger, limit=3)] == [3, 3]
    assert [len(page.sessions) async for page in pages(ledger, limit=6)] == [6]
    assert [page async for page in pages(ledger, Selection(principal="nobody"))] == [Page(sessions=[], end=None)]


async def test_what_is_created_or_settled_meanwhile_disturbs_no_page(ledger: Ledger) -> None:
    sessions = [a_session(number % ledger.shards, at=NOW + number * SECOND) for number in range(9)]
    await ledger.create_many([a_new(session) for session in sessions])
    seen: list[str] = []
    async for page in pages(ledger, limit=2):
        seen += [session.id for session in page.sessions]
        await ledger.create(a_session(at=NOW + 90 * SECOND), look_at=NOW, idempotency=None)
        await ledger.apply(verify(page.sessions[-1], INFO, DESTINATION, NOW))
    assert seen == [session.id for session in sessions[::-1]]


async def test_a_listing_shows_each_session_as_it_now_stands(ledger: Ledger) -> None:
    session = await verified(ledger, 3)
    assert await listed(ledger) == [session]


async def test_others_never_see_what_is_not_theirs(ledger: Ledger) -> None:
    mine, theirs = await created(ledger), a_session(principal="app2", batch="today", owner="me")
    await ledger.create(theirs, look_at=NOW, idempotency=None)
    assert await listed(ledger) == [mine]
    assert await listed(ledger, Selection(principal=PRINCIPAL, batch="today")) == []
    assert await listed(ledger, Selection(principal=PRINCIPAL, owner="me")) == []
    assert await listed(ledger, Selection(principal="app2", batch="today", owner="me")) == [theirs]


async def test_filters_are_combined(ledger: Ledger) -> None:
    sessions = {
        (batch, owner): a_session(number % ledger.shards, batch=batch, owner=owner, at=NOW + number * SECOND)
        for number, (batch, owner) in enumerate((b, o) for b in ("b1", "b2", None) for o in ("o1", "o2", None))
    }
    await ledger.create_many([a_new(session) for session in sessions.values()])

    async def batches_and_owners(**wanted: str) -> set[tuple[str | None, str | None]]:
        found = await listed(ledger, Selection(principal=PRINCIPAL, **wanted))
        return {(session.facts.batch, session.facts.owner) for session in found}

    assert await batches_and_owners(batch="b1") == {("b1", "o1"), ("b1", "o2"), ("b1", None)}
    assert await batches_and_owners(owner="o2") == {("b1", "o2"), ("b2", "o2"), (None, "o2")}
    assert await batches_and_owners(batch="b2", owner="o1") == {("b2", "o1")}
    assert await batches_and_owners(batch="b3") == set()
    assert await batches_and_owners() == set(sessions)


@pytest.mark.parametrize("labels", [{}, {"batch": "b"}, {"owner": "o"}, {"batch": "b", "owner": "o"}])
async def test_a_state_is_looked_for(ledger: Ledger, labels: dict[str, str]) -> None:
    sessions = [a_session(number % ledger.shards, **labels) for number in range(9)]
    await ledger.create_many([a_new(session) for session in sessions])
    for session in sessions[:4]:
        await ledger.apply(verify(session, INFO, DESTINATION, NOW))
    working = await leased(ledger)
    states = {State.PENDING: 5, State.VERIFIED: 3, State.PROCESSING: 1, State.FAILED: 0}
    for state, count in states.items():
        found = await listed(ledger, Selection(principal=PRINCIPAL, state=state, **labels), limit=2)
        assert len(found) == count
        assert all(session.state is state for session in found)
    assert await listed(ledger, Selection(principal=PRINCIPAL, state=State.PROCESSING)) == [working]


async def test_a_page_is_bounded_by_what_it_walks(ledger: Ledger) -> None:
    for _ in range(3):
        await ledger.create_many([a_new(a_session(number % ledger.shards)) for number in range(1_000)])
    failed = Selection(principal=PRINCIPAL, state=State.FAILED)
    first = await ledger.find(failed, after=None, limit=100)
    assert first.sessions == []
    assert first.end is not None
    assert await listed(ledger, failed) == []


async def test_a_page_is_bounded_by_what_its_records_hold(ledger: Ledger) -> None:
    for _ in range(100):
        session = await created(ledger)
        facts = replace(session.facts, result=b"x" * 65_536)
        assert await ledger.apply(Change(before=session, after=replace(session, facts=facts)))
    sizes = [len(page.sessions) async for page in pages(ledger, limit=1_000)]
    assert sum(sizes) == 100
    assert max(sizes) < 70


@pytest.mark.parametrize("at", [NOW, NOW - SECOND, NOW + SECOND])
@pytest.mark.parametrize("name", ["", "0", "~", "00" + "a" * 26, "ff" + "z" * 26, new_session_id(0)])
async def test_any_position_is_one(ledger: Ledger, name: str, at: object) -> None:
    """A forged cursor is harmless: it is a place among one's own sessions."""
    sessions = sorted([await created(ledger, number) for number in range(6)], key=lambda session: session.id)[::-1]
    position = Position(created_at=at, id=name)  # type: ignore[arg-type]
    expected = [session for session in sessions if (NOW, session.id) < (at, name)]
    assert (await ledger.find(MINE, after=position, limit=10)).sessions == expected


# --- what is pending


async def test_pending_sessions_and_their_bytes_are_counted(ledger: Ledger) -> None:
    assert await ledger.usage(PRINCIPAL) == NONE
    sessions = [await created(ledger, number) for number in range(5)]
    each = SPEC.size_bytes
    assert await ledger.usage(PRINCIPAL) == Usage(sessions=5, size_bytes=5 * each)
    assert await ledger.usage("nobody") == NONE
    ends = (
        verify(sessions[0], INFO, DESTINATION, NOW),
        reject(sessions[1], INFO, Reason(code="x", message="y"), DESTINATION, NOW),
        expire(sessions[2], DESTINATION, NOW),
        abort(sessions[3], DESTINATION, NOW),
    )
    for left, change in zip((4, 3, 2, 1), ends, strict=True):
        assert await ledger.apply(change)
        assert await ledger.usage(PRINCIPAL) == Usage(sessions=left, size_bytes=left * each)
    late = verify(ends[2].after, INFO, DESTINATION, NOW)
    assert await ledger.apply(late)
    assert await ledger.apply(remint(sessions[4], NOW, NOW))
    assert await ledger.usage(PRINCIPAL) == Usage(sessions=1, size_bytes=each)


async def test_what_is_refused_or_found_again_counts_nothing(ledger: Ledger) -> None:
    session = a_session()
    for _ in range(3):
        await ledger.create(session, look_at=NOW, idempotency=an_idempotency())
    with pytest.raises(IdempotencyKeyReused):
        await ledger.create(a_session(), look_at=NOW, idempotency=an_idempotency(body="other"))
    assert await ledger.apply(verify(session, INFO, DESTINATION, NOW))
    assert not await ledger.apply(abort(session, DESTINATION, NOW))
    assert await ledger.usage(PRINCIPAL) == NONE


async def test_objects_of_terabytes_are_counted_to_the_byte(ledger: Ledger) -> None:
    size = 5 * 1024**4 - 1
    sessions = [a_session(spec=replace(SPEC, size_bytes=size)) for _ in range(1_000)]
    await ledger.create_many([a_new(session) for session in sessions])
    assert await ledger.usage(PRINCIPAL) == Usage(sessions=1_000, size_bytes=1_000 * size)
    assert await ledger.apply(verify(sessions[0], INFO, DESTINATION, NOW))
    assert await ledger.usage(PRINCIPAL) == Usage(sessions=999, size_bytes=999 * size)


@pytest.mark.parametrize("quota", [Quota(sessions=3), Quota(size_bytes=3 * SPEC.size_bytes)])
async def test_a_quota_refuses_what_would_be_more(ledger: Ledger, quota: Quota) -> None:
    sessions = [a_session(number % ledger.shards) for number in range(4)]
    for session in sessions[:3]:
        await ledger.create(session, look_at=NOW, idempotency=None, quota=quota)
    with pytest.raises(QuotaExceeded):
        await ledger.create(sessions[3], look_at=NOW, idempotency=an_idempotency(), quota=quota)
    assert await ledger.get(sessions[3].id) is None
    assert await states_of(ledger, sessions[3]) == []
    assert await listed(ledger) == sorted(sessions[:3], key=lambda session: session.id)[::-1]
    await ledger.apply(abort(sessions[0], DESTINATION, NOW))
    again = await ledger.create(sessions[3], look_at=NOW, idempotency=an_idempotency(), quota=quota)
    assert not again.is_replay


async def test_a_quota_of_bytes_lets_the_small_through(ledger: Ledger) -> None:
    quota = Quota(sessions=10, size_bytes=100)
    sizes = [60, 50, 40, 1, 0]
    answers = await ledger.create_many(
        [a_new(a_session(spec=replace(SPEC, size_bytes=size))) for size in sizes], quota=quota
    )
    assert [isinstance(answer, QuotaExceeded) for answer in answers] == [False, True, False, True, False]
    assert await ledger.usage(PRINCIPAL) == Usage(sessions=3, size_bytes=100)


async def test_a_used_up_quota_still_finds_what_was_made(ledger: Ledger) -> None:
    quota = Quota(sessions=1)
    first = await ledger.create(a_session(), look_at=NOW, idempotency=an_idempotency(), quota=quota)
    again = await ledger.create(a_session(), look_at=NOW, idempotency=an_idempotency(), quota=quota)
    assert again == Created(session=first.session, is_replay=True)


async def test_a_batch_fills_a_quota_to_the_brim_and_no_further(ledger: Ledger) -> None:
    items = [a_new(a_session(number % ledger.shards)) for number in range(200)]
    answers = await ledger.create_many(items, quota=Quota(sessions=120))
    assert sum(isinstance(answer, Created) for answer in answers) == 120
    assert (await ledger.usage(PRINCIPAL)).sessions == 120


async def test_on_one_shard_a_quota_is_exact_for_any_number_of_callers(ledger: Ledger, other: Ledger) -> None:
    calls = [
        (ledger, other)[number % 2].create_many([a_new(a_session()) for _ in range(10)], quota=Quota(sessions=25))
        for number in range(6)
    ]
    answers = [answer for batch in await asyncio.gather(*calls) for answer in batch]
    assert sum(isinstance(answer, Created) for answer in answers) == 25
    assert (await ledger.usage(PRINCIPAL)).sessions == 25
