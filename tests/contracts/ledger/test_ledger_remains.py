"""What outlives records: tombstones, which alone permit a deletion, and the id that says whose ledger it is."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

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
    eventually,
    leased,
    used_memory,
    verified,
)
from msgspec.structs import replace

from broker.contract import Reason, State
from broker.dev.redis_server import RedisServer
from broker.domain.errors import LedgerUnavailable
from broker.domain.jobs import finish, retry
from broker.domain.keys import new_session_id
from broker.domain.sessions import Session, abort, erase, erased, expire, quiet_at, reject, remint, removed, verify
from broker.domain.tombstones import OUTLIVES, Tombstone
from broker.ledger.redis import RedisLedger
from broker.ledger.tombstones import decode_tombstone, tombstone_key
from broker.ledger.wire import Wire

REASON = Reason(code="size-mismatch", message="…")
MOST_BYTES = 176  # ours: ten bytes, under a key of 38, in two tables of Redis

# The twin and Redis have these beside the five rights of a `Ledger`.
Twin = Any


async def tombstone(ledger: Twin, session: Session) -> Tombstone | None:
    (found,) = await ledger.tombstones.find_many([session.id])
    return found


async def test_who_came_to_nothing_leaves_a_tombstone_that_says_from_when_it_is_quiet(ledger: Twin) -> None:
    one, two, three = [await created(ledger, shard) for shard in (0, 3, 3)]
    assert await ledger.apply(expire(one, DESTINATION, NOW))
    assert await ledger.apply(abort(two, DESTINATION, NOW))
    assert await ledger.apply(reject(three, INFO, REASON, DESTINATION, NOW))

    found = await ledger.tombstones.find_many([three.id, new_session_id(0), one.id, two.id, three.id])

    quiet = quiet_at(one, POLICY, now=NOW)
    states = [State.REJECTED, None, State.EXPIRED, State.ABORTED, State.REJECTED]
    assert found == [state and Tombstone(state=state, quiet_at=quiet) for state in states]
    assert await ledger.tombstones.find_many([]) == []


async def test_a_consumer_that_rejects_leaves_a_tombstone_too(ledger: Twin) -> None:
    await verified(ledger)
    change = finish(await leased(ledger), State.REJECTED, NOW, POLICY)
    assert await ledger.apply(change)
    found = await tombstone(ledger, change.after)
    assert found is not None
    assert found.state is State.REJECTED


async def test_who_is_waited_for_or_came_to_something_has_none(ledger: Twin) -> None:
    session = await created(ledger)
    assert await tombstone(ledger, session) is None
    assert await ledger.apply(remint(session, NOW + DAY, NOW))
    assert await tombstone(ledger, session) is None
    await verified(ledger)
    for outcome in (None, State.FAILED, State.PROCESSED):
        job = await leased(ledger, until=NOW + HOLD)
        assert await tombstone(ledger, job) is None
        change = finish(job, outcome, NOW, POLICY) if outcome else retry(job, REASON, NOW, POLICY, timedelta(0))
        assert await ledger.apply(change)
        assert await tombstone(ledger, job) is None
        if outcome:
            await verified(ledger)


async def test_bytes_that_come_late_and_are_taken_take_the_tombstone_away(ledger: Twin) -> None:
    """Else its job would be done, its record forgotten, and one day its object deleted."""
    session = await created(ledger)
    gone = expire(session, DESTINATION, NOW)
    assert await ledger.apply(gone)
    assert await tombstone(ledger, session) is not None

    assert await ledger.apply(verify(gone.after, INFO, DESTINATION, NOW))

    assert await tombstone(ledger, session) is None


async def test_a_change_that_is_refused_leaves_no_tombstone(ledger: Twin) -> None:
    session = await created(ledger)
    assert await ledger.apply(verify(session, INFO, DESTINATION, NOW))
    assert not await ledger.apply(expire(session, DESTINATION, NOW))
    assert await tombstone(ledger, session) is None


async def test_a_removal_leaves_the_tombstone_standing(ledger: Twin) -> None:
    session = await created(ledger)
    change = abort(session, DESTINATION, NOW)
    await ledger.apply(change)
    before = await tombstone(ledger, session)
    assert await ledger.apply(removed(change.after, DESTINATION))
    assert await tombstone(ledger, session) == before is not None


async def test_what_its_owner_erased_leaves_the_tombstone_of_what_he_gave_up(ledger: Twin) -> None:
    session = await verified(ledger)
    change = erase(session, DESTINATION, NOW)
    assert await ledger.apply(change)
    before = await tombstone(ledger, session)
    assert before == Tombstone(state=State.ABORTED, quiet_at=quiet_at(session, POLICY, now=NOW))
    assert await ledger.apply(erased(change.after, DESTINATION, NOW + DAY))
    assert await tombstone(ledger, session) == before


async def test_a_tombstone_outlives_its_record(ledger: Twin) -> None:
    session = await created(ledger)
    brief = replace(DESTINATION, policy=replace(POLICY, retention=timedelta(milliseconds=20)))
    assert await ledger.apply(expire(session, brief, NOW))

    async def is_forgotten() -> bool:
        return await ledger.get(session.id) is None

    await eventually(is_forgotten)
    assert await tombstone(ledger, session) is not None


async def test_a_ledger_has_the_first_id_that_it_was_given(ledger: Twin, other: Twin) -> None:
    assert await ledger.identity.store_id() is None
    held = await asyncio.gather(*((ledger, other)[n % 2].identity.claim(f"id-{n}") for n in range(10)))
    assert len(set(held)) == 1
    assert await ledger.identity.store_id() == await other.identity.store_id() == held[0]
    assert await other.identity.claim("another") == held[0]


async def test_what_an_operator_said_of_adoptions_is_remembered_for_each_destination(ledger: Twin, other: Twin) -> None:
    assert await ledger.identity.adoption_floor("eu") is None
    await ledger.identity.set_adoption_floor("eu", NOW)
    await ledger.identity.set_adoption_floor("us", NOW + DAY)
    await other.identity.set_adoption_floor("eu", NOW - DAY)  # the last word counts, earlier or later
    assert await ledger.identity.adoption_floor("eu") == NOW - DAY
    assert await other.identity.adoption_floor("us") == NOW + DAY
    assert await ledger.identity.adoption_floor("asia") is None


# --- what only Redis can do


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[RedisLedger]:
    ledger = RedisLedger(server.url)
    yield ledger
    await ledger.close()


async def test_a_tombstone_stands_thirty_days_longer_than_the_record(redis: RedisLedger, wire: Wire) -> None:
    session = await created(redis)
    await redis.apply(abort(session, DESTINATION, NOW))
    left = timedelta(milliseconds=await wire.call("PTTL", tombstone_key(session.id)))
    assert POLICY.retention + OUTLIVES - SECOND < left <= POLICY.retention + OUTLIVES
    assert OUTLIVES >= 30 * DAY


async def test_a_tombstone_takes_few_bytes(redis: RedisLedger, wire: Wire) -> None:
    count = 16_384  # a power of two: tables of Redis double
    sessions = [a_session() for _ in range(count)]
    change = abort(sessions[0], DESTINATION, NOW)
    await redis.apply(change)
    before = await used_memory(wire)
    value = b"\x01\x07" + b"\0" * 8
    for start in range(0, count, 512):
        keys = [tombstone_key(session.id) for session in sessions[start : start + 512]]
        await asyncio.gather(*(wire.call("SET", key, value, "PX", 86_400_000) for key in keys))
    each = (await used_memory(wire) - before) / count
    assert each <= MOST_BYTES, f"{each:.0f} bytes a tombstone"


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\x02" + b"\0" * 9, b"\x01\xff" + b"\0" * 8, b"\x01\x07" + b"\xff" * 8]
)
async def test_a_tombstone_that_cannot_be_read_is_trouble_and_no_tombstone(
    redis: RedisLedger, wire: Wire, data: bytes
) -> None:
    session = a_session()
    await wire.call("SET", tombstone_key(session.id), data)
    with pytest.raises(LedgerUnavailable):
        await tombstone(redis, session)
    with pytest.raises(LedgerUnavailable):
        decode_tombstone(data)


async def test_while_redis_is_away_neither_id_nor_tombstone_is_taken_for_missing(own_server: RedisServer) -> None:
    redis = RedisLedger(own_server.url)
    own_server.kill()
    for call in (
        redis.identity.store_id(),
        redis.identity.claim("id"),
        redis.identity.adoption_floor("eu"),
        redis.identity.set_adoption_floor("eu", NOW),
        redis.tombstones.find_many([new_session_id(0)]),
    ):
        with pytest.raises(LedgerUnavailable):
            await call
    await redis.close()
