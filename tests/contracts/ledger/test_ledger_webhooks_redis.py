"""What only Redis can do wrong with webhooks: trim too much, hold too much, leave things behind."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_samples import (
    DAY,
    DESTINATION,
    HOLD,
    NOW,
    created,
    used_memory,
)
from test_ledger_webhooks import HOOK, an_attempt, claimed, fanned_out, registered

from broker.dev.redis_server import RedisServer
from broker.domain.errors import LedgerUnavailable
from broker.domain.keys import new_session_id
from broker.domain.sessions import abort
from broker.ledger import records, scripts, webhooks
from broker.ledger.redis import RedisLedger
from broker.ledger.wire import Wire

DAY_MS = 86_400_000


@pytest.fixture
async def ledger(server: RedisServer) -> AsyncIterator[RedisLedger]:
    ledger = RedisLedger(server.url)
    yield ledger
    await ledger.close()


async def server_now(wire: Wire) -> int:
    return int((await wire.call("TIME"))[0]) * 1_000


async def old_events(wire: Wire, count: int, *, age_days: float) -> list[str]:
    """As if they had been recorded so long ago, one a millisecond."""
    first, cursors = await server_now(wire) - int(age_days * DAY_MS), []
    for number in range(count):
        fields = ("id", new_session_id(0), "state", "pending", "epoch", 0, "at", first + number)
        cursors.append((await wire.call("XADD", "events:{00}", f"{first + number}-7", *fields)).decode())
    return cursors


async def cursors_of(ledger: RedisLedger) -> set[str]:
    return {event.cursor async for event in ledger.read(0)}


# --- trimming


async def test_events_that_a_reader_has_not_passed_are_kept(ledger: RedisLedger, wire: Wire) -> None:
    old = await old_events(wire, 600, age_days=9)
    await wire.call("HSET", "cursors:{00}", "slow", old[299], "quick", old[-1])
    await created(ledger)
    left = await cursors_of(ledger)
    assert set(old[300:]) <= left
    assert not set(old[:200]) & left  # MINID ~ drops whole nodes, of 100 entries at most


async def test_readers_who_have_passed_everything_hold_nothing(ledger: RedisLedger, wire: Wire) -> None:
    old = await old_events(wire, 600, age_days=9)
    await wire.call("HSET", "cursors:{00}", "quick", f"{await server_now(wire)}-0")
    await created(ledger)
    assert len(await cursors_of(ledger) & set(old)) <= 100


async def test_a_reader_that_is_gone_for_a_month_holds_nothing_any_more(ledger: RedisLedger, wire: Wire) -> None:
    older, old = await old_events(wire, 600, age_days=31), await old_events(wire, 10, age_days=29)
    await wire.call("HSET", "cursors:{00}", "gone", "0-0")
    await created(ledger)
    left = await cursors_of(ledger)
    assert len(left & set(older)) <= 100
    assert set(old) <= left


async def test_a_cursor_that_is_none_stops_nobody_from_minting(ledger: RedisLedger, wire: Wire) -> None:
    await wire.call("HSET", "cursors:{00}", "broken", "what is this")
    await created(ledger)
    assert len(await cursors_of(ledger)) == 1


ids = st.tuples(st.integers(0, 2**43), st.integers(0, 2**64 - 1) | st.integers(0, 12))


@settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(one=ids, other=ids, is_same_moment=st.booleans())
async def test_stream_ids_are_compared_as_redis_does(
    wire: Wire, one: tuple[int, int], other: tuple[int, int], is_same_moment: bool
) -> None:
    other = (one[0], other[1]) if is_same_moment else other
    compare = f"{LUA}\nreturn is_before(ARGV[1], ARGV[2])"
    answer = await wire.call("EVAL", compare, 0, "{}-{}".format(*one), "{}-{}".format(*other))
    assert bool(answer) is (one < other)


LUA = scripts.FAN_OUT.source.decode().partition("-- Joined to the front of the scripts")[0]


# --- what is left behind


async def test_every_key_carries_its_hash_tag_and_an_end(server: RedisServer, wire: Wire) -> None:
    ledger = RedisLedger(server.url, shards=256)
    for shard in (0x01, 0xAB):
        await ledger.webhooks.cursor(shard, HOOK)
    sessions = [await created(ledger, 0xAB), await created(ledger, 0xAB)]
    await fanned_out(ledger, 0xAB)
    (one, _) = await claimed(ledger.webhooks)
    await ledger.webhooks.settle(one, an_attempt(one), again_at=None)
    assert {one.id} < {session.id for session in sessions}
    ours = (b"hook", b"hooks", b"told")
    found = [key for key in await wire.call("KEYS", "*") if key.partition(b":")[0] in ours]
    assert {key.partition(b":")[0] for key in found} == set(ours)
    for key in found:
        assert key.split(b":")[1] == b"{ab}"
        assert DAY_MS < await wire.call("PTTL", key) <= webhooks.LOG_KEPT_MS
    await ledger.close()


async def test_what_was_told_leaves_nothing_but_the_log(ledger: RedisLedger, wire: Wire) -> None:
    await registered(ledger)
    await created(ledger)
    await fanned_out(ledger)
    (one,) = await claimed(ledger.webhooks)
    await ledger.webhooks.settle(one, an_attempt(one), again_at=None)
    assert await wire.call("KEYS", "hook*") == []


async def test_the_log_is_bounded(ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "LOG_LENGTH", 100)
    await registered(ledger)
    await created(ledger)
    await fanned_out(ledger)
    (one,) = await claimed(ledger.webhooks)
    for _ in range(350):
        await ledger.webhooks.settle(one, an_attempt(one), again_at=None)
    assert 100 <= len(await ledger.webhooks.attempts(HOOK)) <= 200


async def test_an_event_that_was_trimmed_meanwhile_is_claimed_without_it(ledger: RedisLedger, wire: Wire) -> None:
    await registered(ledger)
    session = await created(ledger)
    await fanned_out(ledger)
    await wire.call("DEL", "events:{00}")
    (one,) = await claimed(ledger.webhooks)
    assert (one.event, one.session) == (None, session)
    await wire.call("DEL", f"session:{{00}}:{session.id}")
    (one,) = await claimed(ledger.webhooks, now=one.until)
    assert (one.event, one.session) == (None, None)


async def test_a_record_of_a_newer_broker_keeps_no_other_waiting_and_comes_back(
    ledger: RedisLedger, wire: Wire
) -> None:
    await registered(ledger)
    newer, session = await created(ledger), await created(ledger)
    await fanned_out(ledger)
    await wire.call("SETRANGE", f"session:{{00}}:{newer.id}", 0, bytes([records.SCHEMA + 1]))
    assert [delivery.id for delivery in await claimed(ledger.webhooks)] == [session.id]
    await wire.call("SETRANGE", f"session:{{00}}:{newer.id}", 0, bytes([records.SCHEMA]))
    assert newer.id in [delivery.id for delivery in await claimed(ledger.webhooks, now=NOW + HOLD)]


async def test_a_long_page_is_remembered_and_replayed_whole(ledger: RedisLedger) -> None:
    await registered(ledger)
    for _ in range(60):
        await ledger.apply(abort(await created(ledger), DESTINATION, NOW))
    events = await fanned_out(ledger)
    assert await ledger.webhooks.replay(0, HOOK, events * 9, now=NOW + DAY) == 0  # more than one script takes
    assert await ledger.webhooks.waiting() == {HOOK: 60}


async def test_while_redis_is_away_every_call_says_so(own_server: RedisServer) -> None:
    ledger = RedisLedger(own_server.url, durability="strict")
    await registered(ledger)
    await created(ledger)
    events = await fanned_out(ledger)
    (one,) = await claimed(ledger.webhooks)
    own_server.kill()
    hooks = ledger.webhooks
    for call in (
        hooks.cursor(0, HOOK),
        hooks.fan_out(0, HOOK, [], after="0-0", to="1-0", now=NOW),
        hooks.claim(HOOK, 1, now=NOW, hold=HOLD),
        hooks.settle(one, an_attempt(one), again_at=None),
        hooks.attempts(HOOK),
        hooks.replay(0, HOOK, events, now=NOW),
        hooks.waiting(),
        hooks.forget(HOOK),
    ):
        with pytest.raises(LedgerUnavailable):
            await call
    await ledger.close()


async def test_a_session_that_waits_takes_little(ledger: RedisLedger, wire: Wire) -> None:
    """An endpoint that is away for a day must not fill Redis."""
    await registered(ledger)
    for _ in range(20):
        await asyncio.gather(*(created(ledger) for _ in range(100)))
    before = await used_memory(wire)
    while await fanned_out(ledger):
        pass
    for delivery in await claimed(ledger.webhooks, limit=2_000):
        await ledger.webhooks.settle(delivery, an_attempt(delivery, "failed"), again_at=NOW + DAY)
    log = int(await wire.call("MEMORY", "USAGE", f"told:{{00}}:{HOOK}", "SAMPLES", 0))
    each = (await used_memory(wire) - before - log) / 2_000
    assert 50 < each <= 350, f"{each:.0f} bytes a session"
