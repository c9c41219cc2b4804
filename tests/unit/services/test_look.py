"""Look: HEAD is the truth, everything else is a hint – and trouble, double work and races change none of it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from broker.contract import State
from broker.domain.errors import CredentialsUnavailable, StoreRefused, StoreUnavailable, Unavailable
from broker.domain.objects import CAPSULE_FIELD
from broker.domain.policy import Policy, grace
from broker.domain.sessions import quiet_at
from tests.unit.services.house import APP, HOLD, PLACE, WISH, House, request_of

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
POLICY = PLACE.policy


async def test_an_upload_is_seen_judged_and_made_a_job() -> None:
    house = House()
    session = await house.uploaded()
    assert session.state is State.VERIFIED
    assert session.facts.stored is not None
    assert session.facts.stored.etag == house.bucket.stored[session.facts.key].etag
    assert await house.ledger.next_due() is None
    assert (await house.leased()).id == session.id


async def test_a_lost_event_costs_only_time() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted)
    await house.pass_time(POLICY.first_look)
    assert (await house.session(minted.session.id)).state is State.VERIFIED


async def test_doubled_and_late_events_change_nothing() -> None:
    house = House()
    session = await house.uploaded()
    heads = len(house.bucket.heads)
    for _ in range(3):
        await house.event(session.facts.key)
    assert await house.looks() == 0
    assert len(house.bucket.heads) == heads
    job = await house.leased()
    await house.event(session.facts.key)
    await house.report(job)
    await house.event(session.facts.key)
    assert await house.looks() == 0
    assert await house.states() == [State.PENDING, State.VERIFIED, State.PROCESSING, State.PROCESSED]


async def test_an_early_event_is_not_believed() -> None:
    house = House()
    minted = await house.minted()
    await house.event(minted.session.facts.key)
    await house.looks()
    assert (await house.session(minted.session.id)).state is State.PENDING


async def test_looks_at_nothing_double_and_stop_when_no_request_lives_any_more() -> None:
    house = House()
    minted = await house.minted()
    moments = []
    house.bucket.before_head = lambda: _note(moments, house.clock.now() - minted.session.facts.created_at)
    await house.pass_time(timedelta(hours=23))
    assert [at.total_seconds() for at in moments[:7]] == [2, 4, 8, 16, 32, 64, 124]
    quiet = quiet_at(minted.session, POLICY, minted.session.facts.created_at) - minted.session.facts.created_at
    assert quiet - MINUTE <= moments[-1] <= quiet + MINUTE
    assert len(moments) < 30


async def _note(moments: list[timedelta], moment: timedelta) -> None:
    moments.append(moment)


async def test_what_never_came_expires_after_its_grace_and_a_last_head() -> None:
    house = House()
    minted = await house.minted()
    end = minted.session.facts.expires_at + grace(POLICY, 12)
    await house.pass_time(end - house.clock.now() - timedelta(milliseconds=1))
    assert (await house.session(minted.session.id)).state is State.PENDING
    heads = len(house.bucket.heads)
    await house.pass_time(timedelta(milliseconds=1))
    assert (await house.session(minted.session.id)).state is State.EXPIRED
    assert len(house.bucket.heads) == heads + 1
    assert await house.is_at_rest()


async def test_bytes_that_came_in_the_last_moment_are_found_without_an_event() -> None:
    house = House()
    minted = await house.minted()
    await house.pass_time(POLICY.deadline - MINUTE)
    _, upload = await house.remint(await house.session(minted.session.id))
    await house.pass_time(timedelta(seconds=59))
    house.bucket.send(request_of(upload))
    await house.pass_time(timedelta(hours=1))
    assert (await house.session(minted.session.id)).state is State.VERIFIED


async def test_an_answer_from_before_the_deadline_expires_nothing() -> None:
    """The object lands while HEAD travels over the deadline."""
    house = House()
    minted = await house.minted()
    end = minted.session.facts.expires_at + grace(POLICY, 12)
    house.clock.advance_to(end - timedelta(seconds=1))

    async def slow() -> None:
        house.clock.advance(timedelta(seconds=2))

    house.bucket.after_head = slow
    await house.event(minted.session.facts.key)
    [due] = await house.ledger.claim(1, now=house.clock.now(), hold=HOLD)
    looked = (await house.look(due)).session
    assert looked is not None
    assert looked.state is State.PENDING


async def test_a_destination_without_processing_ends_verified() -> None:
    house = House(replace(PLACE, processing="none"))
    session = await house.uploaded()
    assert session.state is State.VERIFIED
    assert await house.is_at_rest()
    assert (await house.mint(APP, WISH)).session.state is State.PENDING


# --- trouble


TROUBLES = [StoreUnavailable(), StoreRefused(), CredentialsUnavailable()]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.code)
async def test_trouble_with_the_store_is_no_answer(trouble: Unavailable) -> None:
    house = House(replace(PLACE, policy=Policy(deadline=timedelta(minutes=30))))
    minted = await house.minted()
    house.bucket.trouble = trouble
    await house.pass_time(timedelta(hours=1))
    assert (await house.session(minted.session.id)).state is State.PENDING
    house.bucket.trouble = None
    key = minted.session.facts.key
    capsule = request_of(minted.upload).headers[f"x-amz-meta-{CAPSULE_FIELD}"]
    house.bucket.store(key, size_bytes=12, content_type="text/csv", metadata={CAPSULE_FIELD: capsule})
    await house.pass_time(MINUTE)
    assert (await house.session(minted.session.id)).state is State.VERIFIED


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.code)
async def test_trouble_during_a_removal_puts_it_off(trouble: Unavailable) -> None:
    house = House()
    minted = await house.minted()
    await house.abort(minted.session)
    house.sent(minted)

    async def fail_after_head() -> None:
        house.bucket.trouble = trouble

    house.bucket.after_head = fail_after_head
    await house.pass_time(timedelta(hours=1))
    assert house.bucket.removed == []

    async def nothing() -> None:
        return

    house.bucket.after_head, house.bucket.trouble = nothing, None
    await house.pass_time(MINUTE)
    assert house.bucket.removed == [minted.session.facts.key]


async def test_a_destination_that_is_not_configured_here_is_left_to_another_process() -> None:
    """A rolling deploy: the old process claims a look of a destination that only the new one knows."""
    house = House()
    minted = await house.minted()
    house.sent(minted)
    bucket = house.buckets.pop("default")
    await house.pass_time(timedelta(minutes=5))
    assert (await house.session(minted.session.id)).state is State.PENDING
    house.buckets["default"] = bucket
    await house.pass_time(MINUTE)
    assert (await house.session(minted.session.id)).state is State.VERIFIED


# --- races


async def race(house: House, meanwhile: Callable[[], Awaitable[object]]) -> None:
    """One look, during whose HEAD something else happens: it tells what stands, not what it wanted."""
    is_first = True

    async def once() -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            await meanwhile()

    house.bucket.after_head = once
    [due] = await house.ledger.claim(1, now=house.clock.now(), hold=HOLD)
    assert (await house.look(due)).session == await house.session(due.id)


async def test_a_hint_during_a_head_is_not_lost() -> None:
    """The object lands just after HEAD looked, its event comes before the looker puts the session off."""
    house = House()
    minted = await house.minted()

    async def arrives() -> None:
        house.sent(minted)
        await house.event(minted.session.facts.key)

    await house.event(minted.session.facts.key)
    await race(house, arrives)
    await house.looks()
    assert (await house.session(minted.session.id)).state is State.VERIFIED


async def test_an_abort_during_a_head_wins_and_the_bytes_go_in_quiet() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted)
    await house.event(minted.session.facts.key)
    await race(house, lambda: house.abort(minted.session))
    assert await house.states() == [State.PENDING, State.ABORTED]
    await house.pass_time(DAY)
    assert house.bucket.removed == [minted.session.facts.key]


async def test_minting_again_during_a_head_loses_nothing() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted)
    await house.event(minted.session.facts.key)
    await race(house, lambda: house.remint(minted.session))
    await house.pass_time(POLICY.first_look)
    assert await house.states() == [State.PENDING, State.VERIFIED]


async def test_two_lookers_settle_once() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted)
    first, second = [], []
    for found in (first, second):
        await house.event(minted.session.facts.key)
        found.extend(await house.ledger.claim(10, now=house.clock.now(), hold=HOLD))
        house.clock.advance(timedelta(milliseconds=1))
    barrier = asyncio.Barrier(2)

    async def together() -> None:
        await asyncio.wait_for(barrier.wait(), 5)

    house.bucket.after_head = together
    seen = await asyncio.gather(house.look(first[0]), house.look(second[0]))
    assert [looked.session.state for looked in seen if looked.session] == [State.VERIFIED] * 2
    assert await house.states() == [State.PENDING, State.VERIFIED]
    await house.leased()
    assert await house.lease(10, worker="w", wait=timedelta(0)) == []


async def test_the_client_that_says_it_is_done_is_told_at_once_and_looked_at_once_a_second() -> None:
    house = House()
    minted = await house.minted()
    assert (await house.complete(minted.session)).state is State.PENDING
    house.sent(minted)
    assert (await house.complete(minted.session)).state is State.PENDING  # within the same second
    assert len(house.bucket.heads) == 1
    house.clock.advance(timedelta(seconds=1))
    assert (await house.complete(minted.session)).state is State.VERIFIED
    assert (await house.complete(await house.session(minted.session.id))).state is State.VERIFIED
    assert len(house.bucket.heads) == 2


async def test_a_hint_of_a_client_during_trouble_is_answered_with_the_state() -> None:
    house = House()
    minted = await house.minted()
    house.bucket.trouble = StoreUnavailable()
    assert (await house.complete(minted.session)).state is State.PENDING


async def test_a_notification_without_the_secret_or_about_another_bucket_moves_nothing() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted)
    await house.event(minted.session.facts.key, bucket="other")
    with pytest.raises(Exception, match="prove"):
        await house.event(minted.session.facts.key, token="guess")
    assert await house.looks() == 0
