"""`Outbox`, `Deliveries` and `DeliveryLog`: at least once, in order per session, whoever dies or comes twice."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from ledger_samples import (
    DAY,
    DESTINATION,
    HOLD,
    NOW,
    POLICY,
    SECOND,
    created,
    leased,
    verified,
)

from broker.contract import Reason, State
from broker.domain.jobs import finish, release, retry
from broker.domain.objects import ObjectInfo
from broker.domain.sessions import Session, abort, expire, reject
from broker.domain.webhooks import Attempt
from broker.ports import Delivery, Event

Webhooks = Any  # RedisWebhooks or MemoryWebhooks

HOOK = "crm"


@pytest.fixture
def webhooks(ledger: Any) -> Webhooks:
    return ledger.webhooks


async def read(ledger: Any, shard: int, after: str) -> list[Event]:
    return [event async for event in ledger.read(shard, after)]


async def fanned_out(ledger: Any, shard: int = 0, webhook: str = HOOK) -> list[Event]:
    """Everything that the stream holds behind the cursor is remembered."""
    after = await ledger.webhooks.cursor(shard, webhook)
    events = await read(ledger, shard, after)
    if events:
        assert await ledger.webhooks.fan_out(shard, webhook, events, after=after, to=events[-1].cursor, now=NOW)
    return events


async def registered(ledger: Any, webhook: str = HOOK) -> None:
    for shard in range(ledger.shards):
        await ledger.webhooks.cursor(shard, webhook)


def an_attempt(delivery: Delivery, outcome: Any = "delivered", *, at: Any = NOW) -> Attempt:
    return Attempt(
        at=at,
        webhook_id=f"evt_{delivery.id}",
        session_id=delivery.id,
        cursor=delivery.cursor,
        type="session.verified",
        attempt=delivery.attempt,
        outcome=outcome,
    )


async def claimed(webhooks: Webhooks, *, now: Any = NOW, limit: int = 10, webhook: str = HOOK) -> list[Delivery]:
    found: list[Delivery] = await webhooks.claim(webhook, limit, now=now, hold=HOLD)
    return found


async def told(webhooks: Webhooks, *, now: Any = NOW, webhook: str = HOOK) -> list[tuple[str, State]]:
    """Delivers everything that is due, and all that becomes due by it."""
    heard = []
    for _ in range(50):
        deliveries = await claimed(webhooks, now=now, webhook=webhook)
        if not deliveries:
            return heard
        for delivery in deliveries:
            assert delivery.event is not None
            heard.append((delivery.id, delivery.event.state))
            await webhooks.settle(delivery, an_attempt(delivery, at=now), again_at=None)
    raise AssertionError("it never comes to rest")


# --- the cursor


async def test_a_webhook_hears_of_what_happens_after_it_is_first_seen(ledger: Any) -> None:
    await created(ledger)
    await registered(ledger)
    assert await fanned_out(ledger) == []
    session = await created(ledger)
    assert [event.id for event in await fanned_out(ledger)] == [session.id]


async def test_a_webhook_of_an_empty_stream_hears_of_the_first_event(ledger: Any) -> None:
    await registered(ledger)
    session = await created(ledger)
    assert [event.id for event in await fanned_out(ledger)] == [session.id]


async def test_of_two_relays_on_one_page_one_moves_the_cursor(ledgers: Any) -> None:
    ledger, other = ledgers
    await registered(ledger)
    await verified(ledger)
    after = await ledger.webhooks.cursor(0, HOOK)
    events = await read(ledger, 0, after)
    to = events[-1].cursor
    moves = [one.webhooks.fan_out(0, HOOK, events, after=after, to=to, now=NOW) for one in (ledger, other) * 3]
    assert sum(await asyncio.gather(*moves)) == 1
    assert [state for _, state in await told(ledger.webhooks)] == [State.PENDING, State.VERIFIED]


async def test_a_page_that_is_fanned_out_after_a_newer_one_changes_nothing(ledger: Any) -> None:
    await registered(ledger)
    after = await ledger.webhooks.cursor(0, HOOK)
    await created(ledger)
    first = await read(ledger, 0, after)
    await fanned_out(ledger)
    assert not await ledger.webhooks.fan_out(0, HOOK, first, after=after, to=first[-1].cursor, now=NOW)
    assert await ledger.webhooks.cursor(0, HOOK) == first[-1].cursor


async def test_a_page_in_which_nobody_is_interested_moves_the_cursor_too(ledger: Any) -> None:
    await registered(ledger)
    await created(ledger)
    after = await ledger.webhooks.cursor(0, HOOK)
    events = await read(ledger, 0, after)
    assert await ledger.webhooks.fan_out(0, HOOK, [], after=after, to=events[-1].cursor, now=NOW)
    assert await fanned_out(ledger) == []
    assert await claimed(ledger.webhooks) == []


async def test_each_webhook_has_its_own_cursor_and_its_own_queue(ledger: Any) -> None:
    await registered(ledger)
    await registered(ledger, "bi")
    session = await created(ledger)
    await fanned_out(ledger)
    assert await claimed(ledger.webhooks, webhook="bi") == []
    assert [delivery.id for delivery in await claimed(ledger.webhooks)] == [session.id]
    await fanned_out(ledger, webhook="bi")
    assert [delivery.id for delivery in await claimed(ledger.webhooks, webhook="bi")] == [session.id]


# --- telling


async def test_a_session_is_told_in_order_and_only_one_event_at_a_time(ledger: Any) -> None:
    await registered(ledger)
    shard = 11 % ledger.shards
    session = await verified(ledger, 11)
    await ledger.apply(finish(await leased(ledger), State.PROCESSED, NOW, POLICY))
    await fanned_out(ledger, shard)
    (first,) = await claimed(ledger.webhooks)
    assert (first.event.state, first.attempt, first.since) == (State.PENDING, 1, NOW)
    assert await claimed(ledger.webhooks) == []
    assert await ledger.webhooks.settle(first, an_attempt(first), again_at=None)
    states = [State.VERIFIED, State.PROCESSING, State.PROCESSED]
    assert await told(ledger.webhooks) == [(session.id, state) for state in states]


async def test_a_delivery_shows_the_session_as_it_stands_and_the_event_as_it_was(ledger: Any) -> None:
    await registered(ledger)
    session = await verified(ledger)
    await fanned_out(ledger)
    (delivery,) = await claimed(ledger.webhooks)
    assert delivery.event.state is State.PENDING
    assert delivery.session == session


async def test_a_session_that_waits_lets_others_pass_but_none_of_its_own_events(ledger: Any) -> None:
    await registered(ledger)
    slow, quick = await created(ledger), await created(ledger)
    await fanned_out(ledger)
    deliveries = {delivery.id: delivery for delivery in await claimed(ledger.webhooks)}
    await ledger.webhooks.settle(
        deliveries[slow.id], an_attempt(deliveries[slow.id], "failed"), again_at=NOW + 60 * SECOND
    )
    await ledger.webhooks.settle(deliveries[quick.id], an_attempt(deliveries[quick.id]), again_at=None)
    for session in (slow, quick):
        await ledger.apply(abort(session, DESTINATION, NOW))
    await fanned_out(ledger)
    assert await told(ledger.webhooks, now=NOW + 59 * SECOND) == [(quick.id, State.ABORTED)]
    assert await told(ledger.webhooks, now=NOW + 60 * SECOND) == [(slow.id, State.PENDING), (slow.id, State.ABORTED)]


async def test_attempts_are_counted_also_those_of_the_dead(ledger: Any) -> None:
    await registered(ledger)
    await created(ledger)
    await fanned_out(ledger)
    (one,) = await claimed(ledger.webhooks)
    await ledger.webhooks.settle(one, an_attempt(one, "failed"), again_at=NOW + SECOND)
    (two,) = await claimed(ledger.webhooks, now=NOW + SECOND)  # its deliverer dies
    assert await claimed(ledger.webhooks, now=two.until - timedelta(milliseconds=1)) == []
    (three,) = await claimed(ledger.webhooks, now=two.until)
    assert [each.attempt for each in (one, two, three)] == [1, 2, 3]
    assert {each.since for each in (one, two, three)} == {NOW}


async def test_a_limit_holds_over_all_shards(ledger: Any) -> None:
    await registered(ledger)
    for number in range(20):
        await created(ledger, number)
    for shard in range(ledger.shards):
        await fanned_out(ledger, shard)
    batches = [await claimed(ledger.webhooks, limit=7) for _ in range(4)]
    assert [len(batch) for batch in batches] == [7, 7, 6, 0]
    assert len({delivery.id for batch in batches for delivery in batch}) == 20


# --- two who believe that they own a delivery


async def test_a_failure_is_heard_only_from_the_last_who_claimed_it(ledgers: Any) -> None:
    ledger, other = ledgers
    await registered(ledger)
    await created(ledger)
    await fanned_out(ledger)
    (stale,) = await claimed(ledger.webhooks)
    (current,) = await claimed(other.webhooks, now=stale.until)
    await ledger.webhooks.settle(stale, an_attempt(stale, "failed"), again_at=NOW + DAY)
    await other.webhooks.settle(current, an_attempt(current, "failed"), again_at=current.until + SECOND)
    (again,) = await claimed(ledger.webhooks, now=current.until + SECOND)
    assert again.attempt == 3


async def test_a_stale_failure_opens_nothing_that_another_is_telling(ledgers: Any) -> None:
    ledger, other = ledgers
    await registered(ledger)
    await created(ledger)
    await fanned_out(ledger)
    (stale,) = await claimed(ledger.webhooks)
    (current,) = await claimed(other.webhooks, now=stale.until)
    await ledger.webhooks.settle(stale, an_attempt(stale, "failed"), again_at=NOW)
    assert await claimed(ledger.webhooks, now=current.until - SECOND) == []
    await other.webhooks.settle(current, an_attempt(current, "failed"), again_at=NOW + DAY)
    assert await claimed(ledger.webhooks, now=NOW + DAY - SECOND) == []


async def test_a_latecomer_opens_nothing_that_another_is_telling_next(ledgers: Any) -> None:
    ledger, other = ledgers
    await registered(ledger)
    session = await created(ledger)
    await ledger.apply(abort(session, DESTINATION, NOW))
    await fanned_out(ledger)
    (stale,) = await claimed(ledger.webhooks)
    (current,) = await claimed(other.webhooks, now=stale.until)
    assert await other.webhooks.settle(current, an_attempt(current, at=stale.until), again_at=None)
    (following,) = await claimed(other.webhooks, now=stale.until)
    assert not await ledger.webhooks.settle(stale, an_attempt(stale), again_at=None)
    assert await claimed(ledger.webhooks, now=following.until - SECOND) == []


async def test_what_a_latecomer_has_told_is_not_told_again_but_waits_for_the_other(ledgers: Any) -> None:
    ledger, other = ledgers
    await registered(ledger)
    session = await created(ledger)
    await ledger.apply(abort(session, DESTINATION, NOW))
    await fanned_out(ledger)
    (stale,) = await claimed(ledger.webhooks)
    (current,) = await claimed(other.webhooks, now=stale.until)
    # While the other may still be telling the first, the second must not overtake it.
    assert not await ledger.webhooks.settle(stale, an_attempt(stale), again_at=None)
    assert await claimed(ledger.webhooks, now=current.until - SECOND) == []
    assert await other.webhooks.settle(current, an_attempt(current), again_at=None)
    assert await told(ledger.webhooks) == [(session.id, State.ABORTED)]


async def test_a_failure_after_somebody_else_has_told_it_brings_nothing_back(ledgers: Any) -> None:
    ledger, other = ledgers
    await registered(ledger)
    session = await created(ledger)
    await fanned_out(ledger)
    (stale,) = await claimed(ledger.webhooks)
    (current,) = await claimed(other.webhooks, now=stale.until)
    await other.webhooks.settle(current, an_attempt(current), again_at=None)
    await ledger.webhooks.settle(stale, an_attempt(stale, "failed"), again_at=NOW)
    assert await claimed(ledger.webhooks, now=NOW + DAY) == []
    await ledger.apply(abort(session, DESTINATION, NOW))
    await fanned_out(ledger)
    assert await told(ledger.webhooks) == [(session.id, State.ABORTED)]


async def test_many_deliverers_tell_each_event_once(ledgers: Any) -> None:
    await registered(ledgers[0])
    for number in range(30):
        await verified(ledgers[0], number)
    for shard in range(ledgers[0].shards):
        await fanned_out(ledgers[0], shard)
    heard = [pair for part in await asyncio.gather(*(told(each.webhooks) for each in ledgers * 3)) for pair in part]
    while rest := await told(ledgers[0].webhooks):
        heard += rest
    assert len(heard) == len(set(heard)) == 60


# --- the log, and telling it again


async def test_the_log_has_every_attempt_in_order(ledger: Any) -> None:
    await registered(ledger)
    session = await created(ledger)
    await fanned_out(ledger)
    (one,) = await claimed(ledger.webhooks)
    failure = an_attempt(one, "failed")
    await ledger.webhooks.settle(one, failure, again_at=NOW + SECOND)
    (two,) = await claimed(ledger.webhooks, now=NOW + SECOND)
    success = an_attempt(two, at=NOW + SECOND)
    await ledger.webhooks.settle(two, success, again_at=None)
    assert await ledger.webhooks.attempts(HOOK) == [failure, success]
    assert success.session_id == session.id
    assert await ledger.webhooks.attempts("bi") == []


async def test_a_replay_is_told_again_with_a_fresh_day(ledger: Any) -> None:
    await registered(ledger)
    session = await created(ledger)
    await fanned_out(ledger)
    await told(ledger.webhooks)
    later = NOW + 3 * DAY
    events = await read(ledger, 0, "0")
    assert await ledger.webhooks.replay(0, HOOK, events, now=later) == 1
    (delivery,) = await claimed(ledger.webhooks, now=later)
    assert (delivery.id, delivery.since, delivery.attempt) == (session.id, later, 1)
    assert delivery.cursor == events[0].cursor


async def test_a_replay_does_not_double_what_waits_but_hurries_it(ledger: Any) -> None:
    await registered(ledger)
    await verified(ledger)
    await fanned_out(ledger)
    (first,) = await claimed(ledger.webhooks)
    await ledger.webhooks.settle(first, an_attempt(first, "failed"), again_at=NOW + DAY)
    assert await claimed(ledger.webhooks) == []
    assert await ledger.webhooks.replay(0, HOOK, await read(ledger, 0, "0"), now=NOW) == 0
    assert [state for _, state in await told(ledger.webhooks)] == [State.PENDING, State.VERIFIED]
    assert await claimed(ledger.webhooks, now=NOW + 2 * DAY) == []


async def test_a_replay_takes_its_place_before_what_came_later(ledger: Any) -> None:
    await registered(ledger)
    session = await created(ledger)
    await fanned_out(ledger)
    await told(ledger.webhooks)
    await ledger.apply(abort(session, DESTINATION, NOW))
    await fanned_out(ledger)
    assert await ledger.webhooks.replay(0, HOOK, await read(ledger, 0, "0"), now=NOW) == 1
    assert [state for _, state in await told(ledger.webhooks)] == [State.PENDING, State.ABORTED]


async def test_a_replay_does_not_disturb_what_is_being_told_just_now(ledger: Any) -> None:
    await registered(ledger)
    session = await created(ledger)
    await fanned_out(ledger)
    await told(ledger.webhooks)
    await ledger.apply(abort(session, DESTINATION, NOW))
    await fanned_out(ledger)
    (under_way,) = await claimed(ledger.webhooks)
    await ledger.webhooks.replay(0, HOOK, await read(ledger, 0, "0"), now=NOW)
    assert await claimed(ledger.webhooks) == []
    assert await ledger.webhooks.settle(under_way, an_attempt(under_way), again_at=None)
    assert [state for _, state in await told(ledger.webhooks)] == [State.PENDING]


async def test_what_waits_is_counted_and_forgotten_when_somebody_says_so(ledger: Any) -> None:
    await registered(ledger)
    await registered(ledger, "bi")
    for number in range(5):
        await created(ledger, number)
    for shard in range(ledger.shards):
        await fanned_out(ledger, shard)
    (one, *_) = await claimed(ledger.webhooks)
    await ledger.webhooks.settle(one, an_attempt(one), again_at=None)
    assert await ledger.webhooks.waiting() == {HOOK: 4, "bi": 0}
    assert await ledger.webhooks.forget(HOOK)
    assert await ledger.webhooks.waiting() == {"bi": 0}
    assert await ledger.webhooks.attempts(HOOK) == []
    assert await claimed(ledger.webhooks, now=NOW + DAY) == []
    assert not await ledger.webhooks.forget(HOOK)


# --- the reasons that a record forgets


async def ended(ledger: Any, how: str) -> Session:
    session = await created(ledger)
    if how == "expired":
        change = expire(session, DESTINATION, NOW)
    elif how == "rejected":
        info = ObjectInfo(size_bytes=1, content_type="text/csv", etag="e")
        change = reject(session, info, Reason(code="size-mismatch", message="1 byte"), DESTINATION, NOW)
    else:
        raise AssertionError(how)
    assert await ledger.apply(change)
    return change.after


@pytest.mark.parametrize(("how", "code"), [("expired", "deadline"), ("rejected", "size-mismatch")])
async def test_an_event_says_why_it_ended_badly(ledger: Any, how: str, code: str) -> None:
    session = await ended(ledger, how)
    *before, event = await read(ledger, 0, "0")
    assert event.reason == session.facts.reason
    assert event.reason.code == code
    assert [each.reason for each in before] == [None]


async def test_an_event_of_a_failure_keeps_its_reason_when_the_job_is_tried_again(ledger: Any) -> None:
    await verified(ledger)
    reason = Reason(code="no-processor", message="nobody takes text/csv")
    failed = finish(await leased(ledger), State.FAILED, NOW, POLICY, reason=reason)
    await ledger.apply(failed)
    assert (await read(ledger, 0, "0"))[-1].reason == reason


async def test_an_event_of_a_retry_or_a_release_has_no_reason(ledger: Any) -> None:
    await verified(ledger)
    reason = Reason(code="hiccup", message="again, please")
    await ledger.apply(retry(await leased(ledger), reason, NOW, POLICY, SECOND))
    job = await leased(ledger, now=NOW + HOLD, until=NOW + 2 * HOLD)
    await ledger.apply(release(job, NOW, POLICY, is_infrastructure=False))
    assert {event.reason for event in await read(ledger, 0, "0")} == {None}
