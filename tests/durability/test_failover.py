"""Another server answers under the ledger's name: empty, behind, or not promoted yet.

Nothing is deleted, no answer is a 500, and what the bucket knows comes back.
"""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from broker.dev.redis_server import RedisServer
from broker.domain.sessions import Session
from broker.ledger.redis import RedisLedger
from broker.ledger.wire import Wire
from tests.api.world import DOOR_TOKEN, World, event
from tests.durability.clients import is_away, mint, ready, until
from tests.durability.failover import Address


async def notify(world: World, session: dict[str, Any]) -> httpx.Response:
    return await world.client.post(f"/notifications/bucket?token={DOOR_TOKEN}", json=event(session))


async def look_at_all(world: World, ledger: RedisLedger) -> list[Session | None]:
    """Every look that is due, as the looker would."""
    due = await ledger.claim(100, now=world.clock.now(), hold=world.use_cases.lease.duration)
    return [(await world.use_cases.complete.look(each)).session for each in due]


async def report(world: World, job: dict[str, Any], outcome: str = "processed") -> httpx.Response:
    body = {"lease": job["lease"]["token"], "epoch": job["lease"]["epoch"], "outcome": outcome}
    return await world.client.post(f"/jobs/{job['id']}/result", json=body, headers=world.as_("worker"))


async def status(world: World, session: dict[str, Any]) -> httpx.Response:
    return await world.client.get(f"/upload-sessions/{session['id']}", headers=world.as_("app"))


async def test_an_empty_server_costs_no_object_and_the_bucket_brings_sessions_back(
    world: World, ledger: RedisLedger, address: Address, standby: RedisServer
) -> None:
    pending, verified = await world.mint(), await world.verified()
    leased, never_sent = await world.verified(), await world.mint()
    jobs = {(job := await world.lease())["id"]: job for _ in range(2)}
    stored = set(world.bucket.stored)
    await address.fail_over(standby)
    await ready(world)

    # It knows nobody; a consumer of the time before is told that its lease is lost.
    for session in (pending, verified, leased, never_sent):
        for answer in (
            await status(world, session),
            await world.client.delete(f"/upload-sessions/{session['id']}", headers=world.as_("app")),
            await world.client.post(f"/upload-sessions/{session['id']}/completion", headers=world.as_("app")),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "session-not-found")
    for job in jobs.values():
        body = {"lease": job["lease"]["token"], "epoch": 1}
        for answer in (
            await report(world, job),
            await world.client.post(f"/jobs/{job['id']}/renew", json=body, headers=world.as_("worker")),
            await world.client.post(f"/jobs/{job['id']}/release", json=body, headers=world.as_("worker")),
        ):
            assert (answer.status_code, answer.json()["code"]) == (409, "lease-lost")

    # The bytes of a request signed before arrive; the bucket tells of all of it, again and twice.
    world.upload(pending)
    for session in (pending, verified, leased, leased, never_sent):
        assert (await notify(world, session)).status_code == 200
    await look_at_all(world, ledger)
    for session in (pending, verified, leased):
        back = (await status(world, session)).json()
        assert (back["state"], back["filename"], back["size_bytes"]) == ("verified", "report.csv", 12)
    assert (await status(world, never_sent)).status_code == 404

    # Each is processed once, by whoever leases it now.
    again = {(job := await world.lease())["id"]: job for _ in range(3)}
    assert set(again) == {pending["id"], verified["id"], leased["id"]}
    for job_id, stale in jobs.items():
        assert again[job_id]["lease"]["epoch"] == stale["lease"]["epoch"]
        assert (await report(world, stale, "failed")).status_code == 409
    for job in again.values():
        assert (await report(world, job)).json()["state"] == "processed"
    assert world.bucket.removed == []
    assert stored < set(world.bucket.stored)


async def test_on_an_empty_server_nothing_is_ever_due_for_removal(
    world: World, ledger: RedisLedger, address: Address, standby: RedisServer
) -> None:
    """What was aborted is unknown afterwards: its late bytes are adopted rather than deleted."""
    session = await world.mint()
    await world.client.delete(f"/upload-sessions/{session['id']}", headers=world.as_("app"))
    await address.fail_over(standby)
    await ready(world)
    world.upload(session)
    await notify(world, session)
    await look_at_all(world, ledger)
    assert (await status(world, session)).json()["state"] == "verified"
    assert world.bucket.removed == []


async def test_a_mint_that_is_repeated_on_an_empty_server_is_a_new_one(
    world: World, address: Address, standby: RedisServer
) -> None:
    """The key is forgotten with its session: the client gets a URL that works, for another object."""
    before = (await mint(world, "key")).json()
    await address.fail_over(standby)
    await ready(world)
    after = await mint(world, "key")
    assert after.status_code == 201
    assert after.json()["object"]["key"] != before["object"]["key"]


@pytest.fixture
async def behind(redis: RedisServer, standby: RedisServer, wire: Wire) -> AsyncIterator[Wire]:
    """To the standby, which follows the primary until it is told otherwise."""
    await wire.call("CONFIG", "SET", "repl-diskless-sync-delay", 0)  # no other replica will come
    behind = Wire(standby.url)
    await behind.call("REPLICAOF", "127.0.0.1", redis.port)

    async def is_up() -> bool:
        return b"master_link_status:up" in await behind.call("INFO", "replication")

    await until(is_up)
    yield behind
    await behind.close()


async def caught_up(wire: Wire, behind: Wire) -> None:
    async def has() -> bool:
        offsets = [await each.call("INFO", "replication") for each in (wire, behind)]
        first, second = (info.partition(b"master_repl_offset:")[2].split(b"\r")[0] for info in offsets)
        return first == second

    await until(has)


async def test_a_lease_that_the_new_primary_never_heard_of_is_lost(
    world: World, address: Address, wire: Wire, behind: Wire, standby: RedisServer
) -> None:
    """It gives the job to another worker, with the same epoch: only that one is heard."""
    session = await world.verified()
    await caught_up(wire, behind)
    await behind.call("REPLICAOF", "NO", "ONE")
    stale = await world.lease()
    await address.fail_over(standby)
    await ready(world)
    assert (await report(world, stale)).status_code == 409
    job = await world.lease()
    assert (job["id"], job["lease"]["epoch"]) == (stale["id"], stale["lease"]["epoch"])
    assert (await report(world, stale, "failed")).json()["code"] == "lease-lost"
    assert (await report(world, job)).json()["state"] == "processed"
    assert (await report(world, stale, "failed")).json()["code"] == "lease-lost"
    assert (await world.state(session["id"]))[0] == "processed"


async def test_what_the_new_primary_has_heard_of_goes_on(
    world: World, address: Address, wire: Wire, behind: Wire, standby: RedisServer
) -> None:
    first = (await mint(world, "key")).json()
    await world.verified()
    job = await world.lease()
    await caught_up(wire, behind)
    await behind.call("REPLICAOF", "NO", "ONE")
    await address.fail_over(standby)
    await ready(world)
    assert (await mint(world, "key")).json()["id"] == first["id"]
    assert (await report(world, job)).json()["state"] == "processed"


async def test_a_replica_that_was_not_promoted_yet_answers_503_until_it_is(
    world: World, address: Address, wire: Wire, behind: Wire, standby: RedisServer
) -> None:
    session = await world.verified()
    await caught_up(wire, behind)
    await address.fail_over(standby)

    async def is_read_only() -> bool:
        problems = (await world.client.get("/readyz")).json()["problems"]
        return any("replica" in problem for problem in problems)

    await until(is_read_only)
    assert is_away(await mint(world, "key"))
    assert is_away(await world.client.post("/jobs/lease", headers=world.as_("worker")))
    assert is_away(await notify(world, _unsent(session)))
    assert (await status(world, session)).json()["state"] == "verified"  # reading goes on
    await behind.call("REPLICAOF", "NO", "ONE")
    await ready(world)
    assert (await mint(world, "key")).status_code == 201
    assert (await world.lease())["id"] == session["id"]


def _unsent(session: dict[str, Any]) -> dict[str, Any]:
    """An event about a session that the ledger does not know: it would be written down."""
    key = session["object"]["key"].replace(session["id"], session["id"][:2] + "b" * 26)
    return {"object": {**session["object"], "key": key}}
