"""Redis is full: no change is taken, none by half, reading goes on, and all is well again once there is room."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from broker.domain.errors import LedgerUnavailable
from broker.domain.objects import ObjectInfo
from broker.domain.sessions import Session, begin, verify
from broker.ledger.redis import RedisLedger
from broker.ledger.wire import Wire
from broker.ports import DueLook, Idempotency, Stray
from tests.api.world import DOOR_TOKEN, PLACES, WISH, World, event
from tests.durability.clients import is_away, mint, ready

HOLD = timedelta(seconds=30)
INFO = ObjectInfo(size_bytes=12, content_type="text/csv", etag="0" * 32)


async def fill(wire: Wire) -> None:
    await wire.call("CONFIG", "SET", "maxmemory", "1")


async def make_room(wire: Wire) -> None:
    await wire.call("CONFIG", "SET", "maxmemory", "0")


async def everything(wire: Wire) -> dict[bytes, bytes]:
    return {key: await wire.call("DUMP", key) for key in await wire.call("KEYS", "*")}


async def test_a_mint_is_503_reads_go_on_and_all_is_well_once_there_is_room(world: World, wire: Wire) -> None:
    session = await world.mint()
    world.upload(session)
    path = f"/upload-sessions/{session['id']}"
    await fill(wire)

    before = await everything(wire)
    assert is_away(await world.client.post("/upload-sessions", json=WISH, headers=world.as_("app")))
    assert is_away(await mint(world, "key"))
    assert is_away(await world.client.delete(path, headers=world.as_("app")))
    assert is_away(await world.client.post(f"{path}/completion", headers=world.as_("app")))
    unknown = {"object": {"bucket": "acme", "key": f"uploads/00{'a' * 26}/x"}}
    assert is_away(await world.client.post(f"/notifications/bucket?token={DOOR_TOKEN}", json=event(unknown)))
    assert (await world.client.get(path, headers=world.as_("app"))).json()["state"] == "pending"
    assert await everything(wire) == before

    answer = await world.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["problems"] == ["the ledger's Redis is out of memory"]
    assert (await world.client.get("/healthz")).status_code == 200

    await make_room(wire)
    await ready(world)
    assert (await mint(world, "key")).status_code == 201
    assert (await world.client.post(f"{path}/completion", headers=world.as_("app"))).json()["state"] == "verified"
    assert (await world.lease())["id"] == session["id"]


Step = Callable[[RedisLedger, Session, Session, DueLook], Awaitable[object]]


def _new(session: Session) -> Session:
    return begin(f"{session.id[:2]}{'b' * 26}", session.facts, session.facts.created_at)


def _now(session: Session) -> dict[str, object]:
    return {"now": session.facts.created_at + HOLD, "hold": HOLD}


# What each script does to a pending session, a verified one, and a look that was claimed.
STEPS: dict[str, Step] = {
    "create": lambda ledger, one, _, __: ledger.create(
        _new(one), look_at=one.facts.created_at, idempotency=Idempotency(key="k", body="b" * 64, keep_for=HOLD)
    ),
    "verify": lambda ledger, one, _, __: ledger.apply(
        verify(one, INFO, PLACES["default"], one.facts.created_at + HOLD)
    ),
    "hint": lambda ledger, one, _, __: ledger.hint(one.id, None, now=one.facts.created_at - HOLD),
    "hint of a stray": lambda ledger, one, _, __: ledger.hint(
        _new(one).id, Stray(destination="default", key="uploads/x"), now=one.facts.created_at
    ),
    "claim": lambda ledger, one, _, __: ledger.claim(10, now=one.facts.created_at + 3 * HOLD, hold=HOLD),
    "claim one": lambda ledger, one, _, __: ledger.claim_one(
        one.id, now=one.facts.created_at, hold=HOLD, every=timedelta(seconds=1)
    ),
    "postpone": lambda ledger, one, _, look: ledger.postpone(look, one.facts.created_at + 9 * HOLD),
    "lease": lambda ledger, one, _, __: ledger.lease(
        10, worker="w", now=one.facts.created_at + HOLD, until=one.facts.created_at + 2 * HOLD
    ),
    "renew": lambda ledger, _, job, __: ledger.renew(job.id, 1, until=job.facts.created_at + 9 * HOLD),
}


@pytest.mark.parametrize("name", STEPS)
async def test_each_step_happens_wholly_or_not_at_all(ledger: RedisLedger, world: World, wire: Wire, name: str) -> None:
    """Redis looks at its memory once, before a script's first write ("Eval scripts", script flags): none may write
    anything before a write that needs memory, and then meet a refusal."""
    one, job = [await _pending(world) for _ in range(2)]
    start = one.facts.created_at
    verified = verify(job, INFO, PLACES["default"], start)
    assert await ledger.apply(verified)
    assert await ledger.lease(1, worker="w", now=start + HOLD, until=start + 4 * HOLD)
    assert await ledger.apply(verify(await _pending(world), INFO, PLACES["default"], start))
    looks = await ledger.claim(10, now=start + 2 * HOLD, hold=HOLD)
    look = next(each for each in looks if each.id == one.id)
    await wire.call("SCRIPT", "FLUSH")  # a server that was restarted is full before it is given the scripts again
    await fill(wire)
    before = await everything(wire)
    with pytest.raises(LedgerUnavailable, match="out of memory"):
        await STEPS[name](ledger, one, job, look)
    assert await everything(wire) == before
    await make_room(wire)
    assert await STEPS[name](ledger, one, job, look) not in (False, [])
    assert await everything(wire) != before


async def _pending(world: World) -> Session:
    session = await world.ledger.get((await world.mint())["id"])
    assert session is not None
    return session
