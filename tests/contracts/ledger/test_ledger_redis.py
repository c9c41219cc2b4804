"""What only Redis can do wrong: be away, restart, forget its scripts, hold something else, lose what it was given."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from pathlib import Path

import pytest
from ledger_samples import (
    DAY,
    DESTINATION,
    HOLD,
    INFO,
    NOW,
    POLICY,
    PRINCIPAL,
    SECOND,
    STRAY,
    a_new,
    a_session,
    an_idempotency,
    created,
    eventually,
    leased,
    states_of,
    used_memory,
    verified,
)
from msgspec.structs import replace

from broker.contract import State
from broker.dev.redis_server import RedisServer
from broker.domain.errors import BrokerError, LedgerUnavailable
from broker.domain.jobs import finish
from broker.domain.keys import new_session_id
from broker.domain.principals import ApiKey, Role, Standing, hash_of
from broker.domain.sessions import Change, verify
from broker.ledger import records
from broker.ledger.api_keys import MemoryApiKeys, RedisApiKeys
from broker.ledger.creation import MOST_AT_ONCE, label_hash
from broker.ledger.redis import RedisLedger
from broker.ledger.wire import Wire
from broker.ports import Created, Selection, Usage

INDEX_BYTES = 140  # one line of a sorted set: id, score, the links of its skip list, its place in the hash table
MOST_BYTES = 1_024  # DESIGN: a pending session with a key, a checksum and one metadata pair, indexes included


@pytest.fixture
async def ledger(server: RedisServer) -> AsyncIterator[RedisLedger]:
    ledger = RedisLedger(server.url)
    yield ledger
    await ledger.close()


@pytest.fixture
async def own(own_server: RedisServer) -> AsyncIterator[RedisLedger]:
    ledger = RedisLedger(own_server.url, durability="strict")
    yield ledger
    await ledger.close()


async def settings_of(wire: Wire, **settings: str) -> None:
    for name, value in settings.items():
        await wire.call("CONFIG", "SET", name.replace("_", "-"), value)


async def raised_by(batch: Awaitable[list[Created | BrokerError]]) -> None:
    """What befell every item of a batch alike."""
    answers = await batch
    assert len({str(answer) for answer in answers}) == 1
    assert isinstance(answers[0], BrokerError)
    raise answers[0]


# --- away and back


async def back_again(ledger: RedisLedger) -> None:
    """The wire waits a moment between attempts."""

    async def is_well() -> bool:
        return not (await ledger.check()).faults

    await eventually(is_well, within=10)


async def test_while_redis_is_away_every_call_says_so(own_server: RedisServer, own: RedisLedger) -> None:
    session = await created(own)
    look = (await own.claim(1, now=NOW, hold=HOLD))[0]
    own_server.kill()
    calls = [
        own.create(a_session(), look_at=NOW, idempotency=None),
        raised_by(own.create_many([a_new(a_session()) for _ in range(100)])),
        own.find(Selection(principal=PRINCIPAL), after=None, limit=5),
        own.usage(PRINCIPAL),
        own.get(session.id),
        own.get_many([session.id]),
        own.apply(verify(session, INFO, DESTINATION, NOW)),
        own.hint(session.id, STRAY, now=NOW),
        own.hint_many([(session.id, STRAY)], now=NOW),
        own.claim(1, now=NOW, hold=HOLD),
        own.claim_one(session.id, now=NOW, hold=HOLD, every=SECOND),
        own.postpone(look, None),
        own.lease(1, worker="", now=NOW, until=NOW + HOLD),
        own.renew(session.id, 1, until=NOW),
        own.next_due(),
        states_of(own, session),
        own.prepare(),
        own.api_keys.find("app"),
    ]
    for answer in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(answer, LedgerUnavailable)
        assert answer.__cause__ is not None
    assert len((await own.check()).faults) == 1


async def test_the_same_ledger_works_again_when_redis_is_back(own_server: RedisServer, own: RedisLedger) -> None:
    session = await created(own)
    own_server.kill()
    with pytest.raises(LedgerUnavailable):
        await own.get(session.id)
    own_server.start()
    await back_again(own)
    assert await own.get(session.id) == session
    # A restarted server knows no script.
    assert await own.apply(verify(session, INFO, DESTINATION, NOW))
    assert (await leased(own)).id == session.id


async def test_what_was_acknowledged_survives_kill_9(own_server: RedisServer, own: RedisLedger) -> None:
    await own.prepare()
    acknowledged: list[str] = []

    async def create_until_killed() -> None:
        while True:
            session = a_session()
            await own.create(session, look_at=NOW, idempotency=None)
            acknowledged.append(session.id)

    clients = [asyncio.create_task(create_until_killed()) for _ in range(8)]

    async def are_enough() -> bool:
        return len(acknowledged) >= 200

    await eventually(are_enough)
    own_server.kill()
    ends = await asyncio.wait_for(asyncio.gather(*clients, return_exceptions=True), 10)
    assert all(isinstance(end, LedgerUnavailable) for end in ends)
    own_server.start()
    await back_again(own)
    assert None not in await own.get_many(acknowledged)
    due = {look.id for look in await own.claim(10_000, now=NOW, hold=HOLD)}
    recorded = {event.id async for event in own.read(0)}
    assert set(acknowledged) <= due & recorded


async def test_forgotten_scripts_are_given_again(ledger: RedisLedger, wire: Wire) -> None:
    session = await created(ledger)
    await wire.call("SCRIPT", "FLUSH")
    assert await ledger.apply(verify(session, INFO, DESTINATION, NOW))
    await wire.call("SCRIPT", "FLUSH")
    jobs = await asyncio.gather(*(ledger.lease(1, worker="", now=NOW, until=NOW + HOLD) for _ in range(5)))
    assert sum(len(batch) for batch in jobs) == 1


async def test_a_full_redis_is_unavailable_and_says_why(ledger: RedisLedger, wire: Wire) -> None:
    session = await created(ledger)
    await settings_of(wire, maxmemory="1")
    try:
        with pytest.raises(LedgerUnavailable, match="out of memory"):
            await ledger.create(a_session(), look_at=NOW, idempotency=None)
        assert await ledger.get(session.id) == session
    finally:
        await settings_of(wire, maxmemory="0")


async def test_a_replica_is_unavailable_and_says_why(own_server: RedisServer, own: RedisLedger) -> None:
    await created(own)
    wire = Wire(own_server.url)
    await wire.call("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(LedgerUnavailable, match="replica"):
        await own.create(a_session(), look_at=NOW, idempotency=None)
    assert any("replica" in fault for fault in (await own.check()).faults)
    await wire.call("REPLICAOF", "NO", "ONE")
    await wire.close()
    await created(own)


async def test_a_redis_that_hangs_is_unavailable(own_server: RedisServer) -> None:
    ledger = RedisLedger(own_server.url)
    ledger._wire._reply_timeout = 0.2  # not to wait for seconds
    session = await created(ledger)
    assert own_server.process is not None
    own_server.process.send_signal(signal.SIGSTOP)
    with pytest.raises(LedgerUnavailable):
        await ledger.get(session.id)
    own_server.process.send_signal(signal.SIGCONT)
    await back_again(ledger)
    assert await ledger.get(session.id) == session
    await ledger.close()


# --- foreign things


async def test_something_else_under_our_keys_is_an_error_with_a_question(ledger: RedisLedger, wire: Wire) -> None:
    await wire.call("SADD", "due:{00}", "x")
    with pytest.raises(LedgerUnavailable, match="is this the right database"):
        await created(ledger)


async def test_a_record_of_a_newer_schema_is_refused(ledger: RedisLedger, wire: Wire) -> None:
    session = await created(ledger)
    await wire.call("SETRANGE", f"session:{{00}}:{session.id}", 0, bytes([records.SCHEMA + 1]))
    with pytest.raises(LedgerUnavailable, match=f"schema {records.SCHEMA + 1}"):
        await ledger.get(session.id)
    with pytest.raises(LedgerUnavailable, match=f"schema {records.SCHEMA + 1}"):
        await ledger.renew(session.id, 0, until=NOW)
    assert not await ledger.apply(verify(session, INFO, DESTINATION, NOW))


async def test_a_record_of_a_newer_schema_spoils_no_batch(ledger: RedisLedger, wire: Wire) -> None:
    newer, session = await created(ledger, look_at=NOW - SECOND), await created(ledger)
    await wire.call("SETRANGE", f"session:{{00}}:{newer.id}", 0, bytes([records.SCHEMA + 1]))
    assert [look.id for look in await ledger.claim(5, now=NOW, hold=HOLD)] == [session.id]
    other, job = await verified(ledger, now=NOW - SECOND), await verified(ledger)
    await wire.call("SETRANGE", f"session:{{00}}:{other.id}", 0, bytes([records.SCHEMA + 1]))
    assert [one.id for one in await ledger.lease(5, worker="", now=NOW, until=NOW + HOLD)] == [job.id]
    await wire.call("SETRANGE", f"session:{{00}}:{other.id}", 0, bytes([records.SCHEMA]))
    again = await ledger.lease(5, worker="", now=NOW + HOLD, until=NOW + DAY)
    assert {one.id for one in again} == {other.id, job.id}


async def test_a_broken_record_spoils_no_batch(ledger: RedisLedger, wire: Wire) -> None:
    broken, session = await created(ledger, look_at=NOW - SECOND), await created(ledger)
    await wire.call("SETRANGE", f"session:{{00}}:{broken.id}", records.HEADER_BYTES, b"\xc1")  # behind a sound header
    assert [look.id for look in await ledger.claim(5, now=NOW, hold=HOLD)] == [session.id]
    other, job = await verified(ledger, now=NOW - SECOND), await verified(ledger)
    await wire.call("SETRANGE", f"session:{{00}}:{other.id}", records.HEADER_BYTES, b"\xc1")
    assert [one.id for one in await ledger.lease(5, worker="", now=NOW, until=NOW + HOLD)] == [job.id]


async def test_rubbish_in_place_of_a_record_is_refused(ledger: RedisLedger, wire: Wire) -> None:
    for number, rubbish in enumerate((b"", b"\x01", b"hello", b"\x01" * 40, records.encode(a_session())[:-3])):
        session = a_session()
        await wire.call("SET", f"session:{{00}}:{session.id}", rubbish)
        await wire.call("ZADD", "jobs:{00}:default", number, session.id)
        for call in (ledger.get(session.id), ledger.renew(session.id, 0, until=NOW)):
            with pytest.raises(LedgerUnavailable, match="record of session"):
                await call


async def test_every_key_of_a_shard_carries_its_hash_tag(server: RedisServer, wire: Wire) -> None:
    ledger = RedisLedger(server.url, shards=256)
    session, waiting = a_session(0xAB, batch="today", owner="user-17"), a_session(0xAB)
    await ledger.create(waiting, look_at=NOW, idempotency=None)
    await ledger.create(session, look_at=NOW, idempotency=an_idempotency())
    await ledger.apply(verify(session, INFO, DESTINATION, NOW))
    await ledger.hint(new_session_id(0xAB), STRAY, now=NOW)
    await ledger.claim_one(session.id, now=NOW, hold=HOLD, every=DAY)
    keys = await wire.call("KEYS", "*")
    assert {key.partition(b":")[0] for key in keys} == {
        b"session",
        b"due",
        b"jobs",
        b"queues",
        b"events",
        b"stray",
        b"looked",
        b"idem",
        b"own",
        b"batch",
        b"owner",
        b"usage",
    }
    assert all(key.split(b":")[1] == b"{ab}" for key in keys)
    await ledger.close()


# --- memory, streams, keys


@pytest.mark.parametrize("is_idempotent", [False, True], ids=["without a key", "with an idempotency key"])
async def test_a_pending_session_takes_at_most_one_kibibyte(
    ledger: RedisLedger, wire: Wire, is_idempotent: bool
) -> None:
    await created(ledger)
    before, count = await used_memory(wire), 10_000
    for start in range(0, count, 500):
        numbers = range(start, start + 500)
        keys = [an_idempotency(f"{number:032x}") if is_idempotent else None for number in numbers]
        await asyncio.gather(*(ledger.create(a_session(), look_at=NOW, idempotency=key) for key in keys))
    each = (await used_memory(wire) - before) / count
    assert each <= MOST_BYTES, f"{each:.0f} bytes a session"


async def test_a_session_of_a_batch_and_an_owner_takes_little_more(ledger: RedisLedger, wire: Wire) -> None:
    await created(ledger)
    before, count = await used_memory(wire), 10_000
    for start in range(0, count, 500):
        items = [
            a_new(
                a_session(batch="2026-11-20", owner=f"user-{number % 20}"), idempotency=an_idempotency(f"{number:032x}")
            )
            for number in range(start, start + 500)
        ]
        await ledger.create_many(items)
    each = (await used_memory(wire) - before) / count
    assert each <= MOST_BYTES + 2 * INDEX_BYTES, f"{each:.0f} bytes a session"


@pytest.mark.parametrize("at_once", [1, 3, 100])
@pytest.mark.parametrize("index", ["own:{00}:app", f"batch:{{00}}:{label_hash(PRINCIPAL, 'today')}"])
async def test_what_is_forgotten_leaves_the_indexes_too(
    ledger: RedisLedger, wire: Wire, index: str, at_once: int
) -> None:
    for _ in range(10):  # each a generation: gone when the next one comes
        items = [a_new(a_session(batch="today")) for _ in range(100)]
        for start in range(0, 100, at_once):
            await ledger.create_many(items[start : start + at_once])
        await wire.call("DEL", *(f"session:{{00}}:{item.session.id}" for item in items[:90]))
    stale = await wire.call("ZCARD", index) - 100
    assert stale < 250  # of 900: two looks at random for each new one
    assert await wire.call("PTTL", index) > 399 * 86_400_000


async def test_a_listing_takes_what_is_forgotten_out_of_its_index(ledger: RedisLedger, wire: Wire) -> None:
    gone, kept = await created(ledger), await created(ledger)
    await wire.call("DEL", f"session:{{00}}:{gone.id}")
    assert (await ledger.find(Selection(principal=PRINCIPAL), after=None, limit=5)).sessions == [kept]
    assert await wire.call("ZRANGE", f"own:{{00}}:{PRINCIPAL}", 0, -1) == [kept.id.encode()]


async def test_a_record_that_cannot_be_read_is_left_out_of_a_listing(ledger: RedisLedger, wire: Wire) -> None:
    broken, newer, session = await created(ledger), await created(ledger), await created(ledger)
    await wire.call("SETRANGE", f"session:{{00}}:{broken.id}", records.HEADER_BYTES, b"\xc1")
    await wire.call("SETRANGE", f"session:{{00}}:{newer.id}", 0, bytes([records.SCHEMA + 1]))
    assert (await ledger.find(Selection(principal=PRINCIPAL), after=None, limit=5)).sessions == [session]
    await wire.call("SET", f"session:{{00}}:{broken.id}", "")
    pending = Selection(principal=PRINCIPAL, state=State.PENDING)
    assert (await ledger.find(pending, after=None, limit=5)).sessions == [session]


async def test_an_index_never_shows_what_is_somebody_elses(ledger: RedisLedger, wire: Wire) -> None:
    foreign = a_session(principal="other")
    await ledger.create(foreign, look_at=NOW, idempotency=None)
    await wire.call("ZADD", f"own:{{00}}:{PRINCIPAL}", 1, foreign.id)
    assert (await ledger.find(Selection(principal=PRINCIPAL), after=None, limit=5)).sessions == []


async def test_a_count_that_was_lost_never_falls_below_nothing(ledger: RedisLedger, wire: Wire) -> None:
    one, two = await created(ledger), await created(ledger)
    await wire.call("DEL", f"usage:{{00}}:{PRINCIPAL}")
    assert await ledger.apply(verify(one, INFO, DESTINATION, NOW))
    assert await ledger.usage(PRINCIPAL) == Usage(sessions=0, size_bytes=0)
    assert await wire.call("EXISTS", f"usage:{{00}}:{PRINCIPAL}") == 0
    await created(ledger)
    assert await ledger.apply(verify(two, INFO, DESTINATION, NOW))
    assert await ledger.usage(PRINCIPAL) == Usage(sessions=0, size_bytes=0)


async def test_a_chunk_that_cannot_be_written_spoils_no_other(server: RedisServer, wire: Wire) -> None:
    ledger = RedisLedger(server.url, shards=2)
    await wire.call("SET", "due:{01}", "not a sorted set")
    answers = await ledger.create_many([a_new(a_session(number % 2)) for number in range(10)])
    assert [isinstance(answer, Created) for answer in answers] == [True, False] * 5
    assert all(isinstance(answer, Created | LedgerUnavailable) for answer in answers)
    await ledger.close()


async def test_no_script_of_a_batch_holds_redis_up(ledger: RedisLedger, wire: Wire) -> None:
    await wire.call("CONFIG", "RESETSTAT")
    await ledger.create_many([a_new(a_session(batch="today", owner="user-17")) for _ in range(1_000)])
    said = (await wire.call("INFO", "commandstats")).decode()
    found = re.search(r"cmdstat_evalsha:calls=(\d+),usec=\d+,usec_per_call=([\d.]+)", said)
    assert found is not None
    assert int(found[1]) >= 1_000 // MOST_AT_ONCE
    assert float(found[2]) < 5_000  # µs; some 500 on an idle machine


async def test_old_events_are_trimmed_by_age(ledger: RedisLedger, wire: Wire) -> None:
    now = int((await wire.call("TIME"))[0]) * 1_000
    week = 7 * 86_400_000
    for number in range(1_000):
        fields = ("id", new_session_id(0), "state", "pending", "epoch", 0, "at", now - week - 5_000)
        await wire.call("XADD", "events:{00}", f"{now - week - 5_000}-{number + 1}", *fields)
    session = await created(ledger)
    events = [event async for event in ledger.read(0)]
    assert events[-1].id == session.id
    assert len(events) <= 101  # MINID ~ drops whole nodes, of 100 entries at most (stream-node-max-entries)


async def test_the_event_of_a_lease_names_its_worker(ledger: RedisLedger, wire: Wire) -> None:
    await verified(ledger)
    await ledger.lease(1, worker="host-7/31", now=NOW, until=NOW + HOLD)
    (*_, (_, fields)) = await wire.call("XRANGE", "events:{00}", "-", "+")
    assert fields[-2:] == [b"worker", b"host-7/31"]


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_api_keys_are_added_found_replaced_listed_and_revoked(wire: Wire, kind: str) -> None:
    keys = MemoryApiKeys() if kind == "memory" else RedisApiKeys(wire)
    one = ApiKey(id="b", hashes=(hash_of("ub_b_x"),), roles=frozenset({Role.MINT}), created_at=NOW)
    two = ApiKey(id="a", hashes=(hash_of("ub_a_x"),), roles=frozenset({Role.CONSUME}), max_size_bytes=7)
    assert await keys.find("a") is None
    assert await keys.add(one)
    assert await keys.add(two)
    assert not await keys.add(ApiKey(id="a", hashes=("other",), roles=frozenset()))
    assert await keys.list() == [two, one]
    await keys.replace(ApiKey(id="a", hashes=("1", "2"), roles=frozenset()))
    found = await keys.find("a")
    assert found is not None
    assert found.hashes == ("1", "2")
    assert await keys.revoke("a")
    assert not await keys.revoke("a")
    assert await keys.find("a") is None
    assert await keys.list() == [one]


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_each_revocation_of_an_id_begins_another_generation(wire: Wire, kind: str) -> None:
    keys = MemoryApiKeys() if kind == "memory" else RedisApiKeys(wire)
    key = ApiKey(id="a", hashes=("1",), roles=frozenset({Role.MINT}))
    assert await keys.standing("a") == Standing()
    for generation in (0, 1, 2):
        assert await keys.add(key)
        found = await keys.find("a")
        assert found is not None
        assert found.generation == generation
        assert await keys.standing("a") == Standing(generation=generation)
        assert await keys.revoke("a")
        assert await keys.standing("a") == Standing(generation=generation + 1, is_revoked=True)
    assert await keys.list() == []


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_a_key_that_is_kept_elsewhere_can_be_revoked_and_restored(wire: Wire, kind: str) -> None:
    keys = MemoryApiKeys() if kind == "memory" else RedisApiKeys(wire)
    configured = ApiKey(id="a", hashes=("1",), roles=frozenset({Role.MINT}))
    assert not await keys.restore("a")
    assert await keys.revoke("a")
    assert (await keys.standing("a")).of(configured) is None
    assert await keys.restore("a")
    restored = (await keys.standing("a")).of(configured)
    assert restored is not None
    assert restored.generation == 1
    assert await keys.list() == []


async def test_a_lease_rewrites_the_header_and_nothing_else(ledger: RedisLedger, wire: Wire) -> None:
    session = await verified(ledger)
    key = f"session:{{00}}:{session.id}"
    before = await wire.call("GET", key)
    job = await leased(ledger)
    after = await wire.call("GET", key)
    assert after[records.HEADER_BYTES :] == before[records.HEADER_BYTES :]
    assert after == records.encode(job)


async def test_a_counter_that_is_full_stays_full(ledger: RedisLedger) -> None:
    session = await verified(ledger)
    full = replace(session, progress=replace(session.progress, lost_leases=65_535, infrastructure=70_000, revision=2))
    assert await ledger.apply(Change(before=session, after=full, job_at=NOW))
    await leased(ledger)
    job = await leased(ledger, now=NOW + HOLD, until=NOW + DAY)
    assert (job.attempts.lost_leases, job.attempts.infrastructure) == (65_535, 65_535)


async def test_a_session_lives_in_its_time_to_live_only_after_it_is_settled(ledger: RedisLedger, wire: Wire) -> None:
    session = await verified(ledger)
    key = f"session:{{00}}:{session.id}"
    assert await wire.call("PTTL", key) == -1
    await ledger.apply(finish(await leased(ledger), State.PROCESSED, NOW, POLICY))
    left = timedelta(milliseconds=await wire.call("PTTL", key))
    assert POLICY.retention - SECOND < left <= POLICY.retention


def test_the_scripts_are_packaged_beside_their_module() -> None:
    folder = Path(records.__file__).parent
    assert {path.stem for path in folder.glob("*.lua")} >= {"create", "apply", "claim", "lease", "renew"}
