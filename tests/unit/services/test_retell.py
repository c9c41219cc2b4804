"""Telling again what an operator asks for, and nothing else; under the ids that it had."""

from datetime import timedelta

from broker.domain.keys import new_session_id
from broker.domain.webhooks import GIVEN_UP_AFTER, Webhook
from broker.ports import Answer
from broker.services.retell import Retell, Retold
from tests.unit.services.house import House
from tests.unit.services.test_tell import HOOK, OK, Desk, desk

MINUTE = timedelta(minutes=1)


def retell_of(one: Desk) -> Retell:
    ledger = one.house.ledger
    return Retell(events=ledger, log=ledger.webhooks, fan_out=one.fan_out, clock=one.house.clock, shards=ledger.shards)


async def test_a_session_is_told_again_with_the_same_ids() -> None:
    one = await desk(house=House(shards=3))
    session, _ = await one.house.uploaded(), await one.house.uploaded()
    await one.round()
    before = [heard for heard in one.receiver.heard if heard[0] == session.id]
    one.receiver.heard.clear()
    one.house.clock.advance(timedelta(days=2))
    assert await retell_of(one).session(HOOK, session.id) == Retold(events=1, waiting=0)
    await one.round()
    assert one.receiver.heard == before


async def test_of_a_session_that_is_not_there_nothing_is_told() -> None:
    one = await desk()
    assert await retell_of(one).session(HOOK, new_session_id(0)) == Retold()
    assert await retell_of(one).session(HOOK, new_session_id(7)) == Retold()


async def test_everything_since_a_moment_is_told_again() -> None:
    one = await desk(house=House(shards=3))
    early = await one.house.uploaded()
    moment = one.house.clock.advance(MINUTE)
    late = [await one.house.uploaded() for _ in range(4)]
    await one.round()
    one.receiver.heard.clear()
    assert await retell_of(one).since(HOOK, moment) == Retold(events=4, waiting=0)
    await one.round()
    assert {session_id for session_id, _, _ in one.receiver.heard} == {session.id for session in late}
    assert early.id not in {session.id for session in late}


async def test_what_waits_anyway_is_told_once_and_at_once() -> None:
    one = await desk(Answer(status=500))
    session = await one.house.uploaded()
    await one.round()
    assert await retell_of(one).session(HOOK, session.id) == Retold(events=1, waiting=1)
    await one.round()
    assert one.receiver.types_of(session) == ["verified", "verified"]
    assert await one.is_at_rest()


async def test_what_was_given_up_is_told_again() -> None:
    one = await desk(house=House(shards=3))
    fine = await one.house.uploaded()
    await one.round()
    one.receiver.answers = [Answer(status=500)]
    lost = await one.house.uploaded()
    await one.round()
    one.house.clock.advance(GIVEN_UP_AFTER + MINUTE)
    await one.round()
    assert await one.is_at_rest()
    one.receiver.answers = [OK]
    assert await retell_of(one).given_up(HOOK) == Retold(events=1, waiting=0)
    await one.round()
    assert one.receiver.types_of(fine) == ["verified"]
    assert len(one.receiver.types_of(lost)) == 3


async def test_what_is_tried_still_or_was_dropped_was_not_given_up() -> None:
    one = await desk(Answer(status=500))
    await one.house.uploaded()
    await one.round()
    dropped = await one.house.uploaded()
    await one.feed()
    one.house.ledger._shards["00"].sessions.drop(dropped.id)
    await one.round()
    assert [attempt.outcome for attempt in await one.log()] == ["failed", "dropped"]
    assert await retell_of(one).given_up(HOOK) == Retold()


async def test_what_was_delivered_after_it_was_given_up_is_not_told_a_third_time() -> None:
    one = await desk()
    one.receiver.answers = [Answer(status=500)]
    session = await one.house.uploaded()
    await one.round()
    one.house.clock.advance(GIVEN_UP_AFTER + MINUTE)
    await one.round()
    assert [attempt.outcome for attempt in await one.log()] == ["failed", "given-up"]
    one.receiver.answers = [OK]
    one.house.clock.advance(MINUTE)
    await retell_of(one).session(HOOK, session.id)
    await one.round()
    assert await retell_of(one).given_up(HOOK) == Retold()


async def test_a_replay_tells_a_webhook_nothing_that_it_does_not_want() -> None:
    choosy = Webhook(name="crm", keys=(b"k" * 32,), types=frozenset({"session.failed"}))
    one = await desk(webhook=choosy)
    session = await one.house.uploaded()
    assert await retell_of(one).session(choosy, session.id) == Retold()
    stranger = Webhook(name="crm", keys=(b"k" * 32,), principals=("other",))
    assert await retell_of(one).session(stranger, session.id) == Retold()
