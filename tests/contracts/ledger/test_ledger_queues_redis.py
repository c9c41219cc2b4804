"""The queues of jobs as Redis holds them: one for each set of destinations, none that is empty, a job in one alone."""

import asyncio

from ledger_samples import DAY, HOLD, NOW, POLICY, SECOND, leased, verified
from msgspec.structs import replace

from broker.contract import State
from broker.dev.redis_server import RedisServer
from broker.domain.jobs import finish
from broker.domain.sessions import Change, Session
from broker.ledger.records import queue_name
from broker.ledger.redis import RedisLedger
from broker.ledger.wire import Wire


async def queues(wire: Wire) -> dict[str, int]:
    """When each begins."""
    known = await wire.call("ZRANGE", "queues:{00}", 0, -1, "WITHSCORES")
    return {key.decode(): int(float(score)) for key, score in zip(known[::2], known[1::2], strict=True)}


def moved(session: Session, to: str) -> Change:
    progress = replace(session.progress, revision=session.progress.revision + 1)
    after = replace(session, progress=progress, facts=replace(session.facts, destination=to))
    return Change(before=session, after=after, stays=True)


def test_a_name_is_no_part_of_another() -> None:
    assert queue_name(("eu", "us")) == "eu,us"
    assert queue_name(("eu,us",)) == "eu%2Cus"
    assert queue_name(("%2C", "*", "a b", "ü")) == "%252C,%2A,a%20b,%C3%BC"


async def test_a_queue_that_is_empty_leaves_nothing(server: RedisServer, wire: Wire) -> None:
    ledger = RedisLedger(server.url)
    for place in ("eu", "us"):
        await verified(ledger, destination=place)
    assert {*await queues(wire)} == {"jobs:{00}:eu", "jobs:{00}:us"}
    jobs = await ledger.lease(2, worker="w", now=NOW, until=NOW + HOLD)
    assert await queues(wire) == dict.fromkeys(("jobs:{00}:eu", "jobs:{00}:us"), int((NOW + HOLD).timestamp() * 1_000))
    for job in jobs:
        assert await ledger.apply(finish(job, State.PROCESSED, NOW, POLICY))
    assert await wire.call("KEYS", "*jobs*") == await wire.call("KEYS", "queues*") == []
    await ledger.close()


async def test_leftovers_are_dropped_with_their_queue(server: RedisServer, wire: Wire) -> None:
    ledger = RedisLedger(server.url)
    for place in ("eu", "us"):
        job = await verified(ledger, destination=place)
        await wire.call("DEL", f"session:{{00}}:{job.id}")
    assert await ledger.lease(5, worker="w", now=NOW, until=NOW + HOLD, zones={"eu"}) == []
    assert {*await queues(wire)} == {"jobs:{00}:us"}
    assert await ledger.lease(5, worker="w", now=NOW, until=NOW + HOLD) == []
    assert await queues(wire) == {}
    await ledger.close()


async def test_a_renewal_finds_a_job_that_moves_at_that_moment(server: RedisServer, wire: Wire) -> None:
    one, other = RedisLedger(server.url), RedisLedger(server.url)
    await verified(one, destination="eu")
    session, until = await leased(one), NOW + DAY
    for turn in range(100):
        change = moved(session, ("us", "eu")[turn % 2])
        until += SECOND
        renewed, is_moved = await asyncio.gather(one.renew(session.id, 1, until=until), other.apply(change))
        assert is_moved
        assert renewed in (change.before, change.after)
        session = change.after
        key = f"jobs:{{00}}:{session.facts.destination}"
        assert await queues(wire) == {key: int(until.timestamp() * 1_000)}
        assert await wire.call("ZCARD", key) == 1
    await one.close()
    await other.close()
