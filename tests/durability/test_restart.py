"""Redis dies and comes back with its file: what was acknowledged is there, what is asked again happens once."""

import asyncio
from collections.abc import Sized

import pytest

from broker.dev.redis_server import RedisServer
from broker.ledger import scripts
from tests.api.world import DOOR_TOKEN, World, event
from tests.durability.clients import is_away, mint, ready, until
from tests.durability.failover import Address


async def test_acknowledged_sessions_are_all_there_after_kill_9(world: World, redis: RedisServer) -> None:
    """Clients that mint all the time, and send again what was answered with 503: each key makes one session."""
    acknowledged: dict[str, str] = {}
    refused: list[str] = []
    is_over = asyncio.Event()

    async def client(name: int) -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            key = f"{name}-{number}"
            while is_away(answer := await mint(world, key)):
                refused.append(key)
                await asyncio.sleep(0.02)
            assert answer.status_code in {200, 201}, answer.text
            acknowledged[key] = answer.json()["id"]

    async def grown(what: Sized, by: int) -> None:
        aim = len(what) + by

        async def is_grown() -> bool:
            return len(what) >= aim

        await until(is_grown)

    async def kill_and_start() -> None:
        for _ in range(3):
            await grown(acknowledged, 30)
            await asyncio.to_thread(redis.kill)
            await grown(refused, 8)
            await asyncio.to_thread(redis.start)
        await ready(world)
        is_over.set()

    await asyncio.gather(kill_and_start(), *(client(name) for name in range(8)))

    assert len(set(acknowledged.values())) == len(acknowledged)
    assert refused
    for key, session_id in acknowledged.items():
        answer = await mint(world, key)
        assert (answer.status_code, answer.json()["id"]) == (200, session_id)
    assert await world.session_count() == len(acknowledged)


async def test_a_create_whose_answer_was_lost_with_redis_makes_one_session(
    world: World, address: Address, redis: RedisServer
) -> None:
    await mint(world, "before")  # so that Redis knows the script
    address.mute_at = scripts.CREATE.sha  # it does what it is told then, and nobody hears of it
    assert is_away(await mint(world, "once"))
    assert address.is_mute
    redis.kill()
    address.mute_at, address.is_mute = None, False
    assert is_away(await mint(world, "once"))
    redis.start()
    await ready(world)
    answer = await mint(world, "once")
    assert answer.status_code == 200
    assert answer.headers["idempotency-replayed"] == "true"
    assert (await mint(world, "once", filename="other.csv")).status_code == 422
    assert await world.session_count() == 2


async def test_work_goes_on_where_it_stood(world: World, redis: RedisServer) -> None:
    """A pending upload, an event and a lease: none needs to be told anything again."""
    session = await world.mint()
    world.upload(session)
    notified = await world.client.post(f"/notifications/bucket?token={DOOR_TOKEN}", json=event(session))
    assert notified.status_code == 200
    redis.kill()
    redis.start()
    await ready(world)
    (due,) = await world.ledger.claim(10, now=world.clock.now(), hold=world.use_cases.lease.duration)
    assert due.id == session["id"]
    assert (await world.use_cases.complete.look(due)).session
    job = await world.lease()
    redis.kill()
    redis.start()
    await ready(world)
    report = {"lease": job["lease"]["token"], "epoch": 1, "outcome": "processed", "result": {"rows": 3}}
    for _ in range(2):  # also by one who did not hear the first answer
        done = await world.client.post(f"/jobs/{job['id']}/result", json=report, headers=world.as_("worker"))
        assert (done.status_code, done.json()["state"]) == (200, "processed")


@pytest.mark.parametrize("outcome", ["processed", "failed"])
async def test_a_result_whose_answer_was_lost_is_accepted_once(
    world: World, address: Address, redis: RedisServer, outcome: str
) -> None:
    session = await world.verified()
    job = await world.lease()
    report = {"lease": job["lease"]["token"], "epoch": 1, "outcome": outcome}
    path, headers = f"/jobs/{job['id']}/result", world.as_("worker")
    address.is_deaf = True  # the connection breaks before Redis hears of it …
    assert is_away(await world.client.post(path, json=report, headers=headers))
    address.is_deaf = False
    await ready(world)
    assert (await world.state(session["id"]))[0] == "processing"
    redis.kill()
    redis.start()
    await ready(world)
    assert (await world.client.post(path, json=report, headers=headers)).json()["state"] == outcome
    shard = int(job["id"][:2], 16)
    states = [event.state async for event in world.ledger.read(shard) if event.id == job["id"]]
    assert states.count(outcome) == 1
