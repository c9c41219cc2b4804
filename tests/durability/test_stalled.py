"""Redis is there and says nothing (SIGSTOP, a dead disk, a host that swaps): bounded answers, and no stampede."""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Iterator

import pytest

from broker.dev.redis_server import RedisServer
from broker.workers.bells import LocalBell
from broker.workers.looker import Looker
from broker.workers.rounds import LONGEST_BACKOFF
from tests.api.world import DOOR_TOKEN, WISH, World, event
from tests.durability.clients import is_away, ready, until

SILENCE = 0.5  # what the fixture's wire waits for a reply, and for a connection
STALL = 4.0
AT_MOST = 4 * SILENCE  # a reply, then a connection; the rest is a busy machine's


@contextlib.contextmanager
def stalled(redis: RedisServer) -> Iterator[None]:
    assert redis.process is not None
    redis.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        redis.process.send_signal(signal.SIGCONT)


async def test_every_answer_comes_in_time_and_says_503(world: World, redis: RedisServer) -> None:
    session = await world.mint()
    headers, path = world.as_("app"), f"/upload-sessions/{session['id']}"
    with stalled(redis):
        for _ in range(3):
            begun = time.monotonic()
            answers = await asyncio.gather(
                *(world.client.post("/upload-sessions", json=WISH, headers=headers) for _ in range(20)),
                world.client.get(path, headers=headers),
                world.client.delete(path, headers=headers),
                world.client.post("/jobs/lease", json={"wait_seconds": 5}, headers=world.as_("worker")),
                world.client.post(f"/notifications/bucket?token={DOOR_TOKEN}", json=event(session)),
            )
            assert time.monotonic() - begun < AT_MOST
            assert all(is_away(answer) for answer in answers)
            begun = time.monotonic()
            assert (await world.client.get("/healthz")).status_code == 200
            assert time.monotonic() - begun < SILENCE
            readiness = await world.client.get("/readyz")
            assert readiness.status_code == 503
            assert len(readiness.json()["problems"]) == 1
    await ready(world)
    assert (await world.client.post("/upload-sessions", json=WISH, headers=headers)).status_code == 201
    # What it was told while nobody listened, and did afterwards, is what a lost answer is anyway.
    assert (await world.client.get(path, headers=headers)).json()["state"] in {"pending", "aborted"}


async def test_the_looker_backs_off_and_goes_on(
    world: World, redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    look = world.use_cases.complete.look
    looker = Looker(looks=world.ledger, look=look, stores=1, clock=world.clock, due=LocalBell())
    running = asyncio.create_task(looker.run())
    session = await world.mint()
    with stalled(redis), caplog.at_level(logging.WARNING, "broker.looker"):
        await asyncio.sleep(STALL)
        tries = caplog.messages.count("looker.waiting")
    await ready(world)
    world.upload(session)
    await world.client.post(f"/notifications/bucket?token={DOOR_TOKEN}", json=event(session))

    async def is_verified() -> bool:
        return (await world.state(session["id"]))[0] == "verified"

    await until(is_verified)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    # 0.5 s of silence, then pauses of 0.2, 0.4, 0.8 s …, each with another wait for a connection.
    assert 2 <= tries <= 6
    assert LONGEST_BACKOFF.total_seconds() < STALL
