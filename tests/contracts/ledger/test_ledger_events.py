"""`Events`: every transition once, in order per session, read by cursor."""

import asyncio

from ledger_samples import DESTINATION, HOLD, INFO, NOW, POLICY, SECOND, created, leased, states_of, verified

from broker.contract import State
from broker.domain.jobs import finish, release
from broker.domain.sessions import abort, verify
from broker.ports import Checkup, Event, Ledger


async def all_events(ledger: Ledger, shard: int = 0, after: str = "0") -> list[Event]:
    return [event async for event in ledger.read(shard, after)]


async def test_a_whole_life_is_recorded_once_and_in_order(ledger: Ledger) -> None:
    session = await verified(ledger, 11)
    await ledger.apply(release(await leased(ledger), NOW, POLICY, is_infrastructure=True))
    job = await leased(ledger, now=NOW + HOLD, until=NOW + 2 * HOLD)
    await ledger.renew(job.id, 2, until=NOW + 3 * HOLD)
    await ledger.apply(finish(job, State.PROCESSED, NOW + HOLD, POLICY))
    assert await states_of(ledger, session) == [
        (State.PENDING, 0),
        (State.VERIFIED, 0),
        (State.PROCESSING, 1),
        (State.VERIFIED, 1),
        (State.PROCESSING, 2),
        (State.PROCESSED, 2),
    ]


async def test_an_event_says_when_the_record_changed(ledger: Ledger) -> None:
    session = await created(ledger)
    change = verify(session, INFO, DESTINATION, NOW + SECOND)
    await ledger.apply(change)
    moments = [event.at for event in await all_events(ledger)]
    assert moments == [NOW, change.after.progress.changed_at]


async def test_reading_goes_on_after_a_cursor(ledger: Ledger) -> None:
    await created(ledger)
    first = await all_events(ledger)
    assert await all_events(ledger, after=first[-1].cursor) == []
    second = await created(ledger)
    assert [event.id for event in await all_events(ledger, after=first[-1].cursor)] == [second.id]
    assert len(await all_events(ledger)) == 2


async def test_a_long_stream_is_read_whole(ledger: Ledger) -> None:
    sessions = await asyncio.gather(*(created(ledger, look_at=NOW) for _ in range(1_203)))
    events = await all_events(ledger)
    assert {event.id for event in events} == {session.id for session in sessions}
    assert len(events) == len(sessions)


async def test_each_shard_has_its_own_stream(ledger: Ledger) -> None:
    session = await created(ledger, ledger.shards - 1)
    for shard in range(ledger.shards):
        expected = [session.id] if shard == ledger.shards - 1 else []
        assert [event.id for event in await all_events(ledger, shard)] == expected


async def test_two_changes_of_one_moment_are_two_events(ledger: Ledger) -> None:
    session = await created(ledger)
    await ledger.apply(abort(session, DESTINATION, NOW))
    moments = [event.at for event in await all_events(ledger)]
    assert len(moments) == 2
    assert moments[0] < moments[1]


async def test_a_healthy_ledger_has_nothing_to_complain_of(ledger: Ledger) -> None:
    assert await ledger.check() == Checkup()


async def test_after_the_end_there_is_only_what_came_later(ledger: Ledger, other: Ledger) -> None:
    shard = ledger.shards - 1
    empty = await ledger.end(shard)
    first = await created(ledger, shard)
    end = await ledger.end(shard)
    assert await all_events(other, shard, end) == []
    second = await created(other, shard)
    assert [event.id for event in await all_events(ledger, shard, end)] == [second.id]
    assert [event.id for event in await all_events(ledger, shard, empty)] == [first.id, second.id]
