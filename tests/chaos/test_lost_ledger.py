"""The ledger is emptied in the middle of the work, and everybody killed: the buckets tell of each fan-out as of one.

What had been processed is processed once more, because nobody remembers it (DESIGN: at least once); nothing a third
time, nothing under another id, and no copy by itself. The seed is printed; `CHAOS_SEED` repeats it.
"""

import asyncio
import hashlib
import os
import random
import sys
from pathlib import Path

import pytest
import redis

from broker.contract import State, UploadSession
from broker.dev.children import Child
from broker.dev.stack import Stack, StackOptions, start_stack
from tests.chaos.fan_out_proof import events_of, prove_copies, prove_hidden, prove_ledger, prove_stored, prove_zones
from tests.chaos.fan_outs import MORE, PLACES, ZONES, FanOut, FanOuts
from tests.chaos.providers import GCS, S3, Weather
from uploader import Uploader
from uploader.orders import Wait
from uploader.sdk import Strategy

SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
UPLOADS = 48
AT_A_TIME = 8
ALL_BACK_WITHIN = 60

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]


@pytest.mark.parametrize("weather", [pytest.param(S3, id="s3"), pytest.param(GCS, id="gcs")])
async def test_a_ledger_that_was_lost_comes_back_as_one_session_for_each_upload(
    tmp_path: Path, weather: Weather, capsys: pytest.CaptureFixture[str]
) -> None:
    options = StackOptions(
        directory=tmp_path / "dev",
        provider=weather.provider,
        shards=4,
        consumers=2,
        lookers=1,
        consumer_module="tests.chaos.processors",
        more_destinations=MORE,
        away=("away",),
        zones=ZONES,
        policy={"first_look": "1s", "retry_base": "1s", "longest_look_interval": "2s"},
        lease="4s",
        faults={"seed": SEED, "events_lost": 0.3, "events_doubled": 0.3, "events_reordered": 1.0},
    )
    stack = await asyncio.to_thread(start_stack, options)
    try:
        done, sent = FanOuts(), dict[str, str]()
        async with Uploader(stack.about.broker, stack.about.api_key) as uploader:
            await _send(stack, uploader, random.Random(SEED), done, sent, weather)
            before = events_of(stack)
            await asyncio.to_thread(_lose, stack)
            await asyncio.gather(*(_recovered(stack, name) for name in stack.endpoints))
            for child in (*stack.lookers, *stack.consumers):
                await asyncio.to_thread(child.start)
            sessions = await _back(uploader, sent)
        after = events_of(stack)
        twice = sum(before[each, "processed"] for each in sent)
        with capsys.disabled():
            told = f"{weather.provider}, seed {SEED}, {UPLOADS} uploads, {twice} were processed twice"
            print(f"\nlost ledger: {told}", end=" ")
        assert 0 < twice < UPLOADS
        assert max(before[each, "processed"] for each in sent) == 1
        assert {each: after[each, "processed"] for each in sent} == dict.fromkeys(sent, 1)
        assert {each for each, _ in after} == sent.keys()
        prove_copies(done.made, sessions)
        prove_zones(stack, sessions)
        await prove_stored(stack, done, sessions)
        await prove_hidden(stack, sessions, {each for each, _ in before | after})
        await prove_ledger(stack)
    finally:
        await asyncio.to_thread(stack.stop)


async def _send(
    stack: Stack, uploader: Uploader, dice: random.Random, done: FanOuts, sent: dict[str, str], weather: Weather
) -> None:
    """A third is processed; of the rest consumers see half, and the looker all but the last: it is where it is."""
    bodies, turns = [dice.randbytes(dice.randrange(1, 20_000)) for _ in range(UPLOADS)], asyncio.Semaphore(AT_A_TIME)

    async def send(number: int, body: bytes, wait: Wait) -> None:
        places = () if number % 4 == 3 else PLACES["sent"][number % 2]
        strategy: Strategy = weather.large if number % 8 == 3 and weather.large == "resumable" else "auto"
        async with turns:
            result = await uploader.put(
                body,
                filename=f"{number}.bin",
                destinations=places,
                wait=wait,
                checksum=weather.digest,
                strategy=strategy,
            )
        sent[result.session_id] = hashlib.sha256(body).hexdigest()
        if places:
            done.made.append(FanOut(kind="sent", session_id=result.session_id, places=places, body=body))
        for child, dies_at in ((stack.consumers[0], 0.5), (stack.consumers[1], 0.6), (stack.lookers[0], 0.8)):
            if len(sent) == int(UPLOADS * dies_at):
                await asyncio.to_thread(child.kill)

    numbered = [*enumerate(bodies)]
    await asyncio.gather(*(send(number, body, "processed") for number, body in numbered[: UPLOADS // 3]))
    await asyncio.gather(*(send(number, body, "none") for number, body in numbered[UPLOADS // 3 :]))


def _lose(stack: Stack) -> None:
    """As a slip of somebody's hand, under the broker's feet."""
    with redis.Redis.from_url(stack.about.redis) as ledger:
        ledger.flushall()


async def _recovered(stack: Stack, destination: str) -> None:
    """By the command, each destination by itself and all at once."""
    argv = ["recover", destination, "--take-over", "--config", str(stack.options.directory / "broker.toml")]
    command = Child(
        name=f"recover-{destination}",
        argv=[sys.executable, "-m", "broker", *argv],
        env=stack.broker.env,
        directory=stack.options.directory,
        is_announced=False,
    )
    await asyncio.to_thread(command.start)
    assert command.process is not None
    assert await asyncio.to_thread(command.process.wait, 30) == 0, command.last_words()


async def _back(uploader: Uploader, sent: dict[str, str]) -> dict[str, UploadSession]:
    """Every upload under its old id, processed, and all its copies there."""
    async with asyncio.timeout(ALL_BACK_WITHIN):
        while True:
            sessions = {each: await uploader.status(each) for each in sent}
            if all(map(_is_whole, sessions.values())):
                return sessions
            await asyncio.sleep(0.2)  # polling is what a client of this API does


def _is_whole(session: UploadSession) -> bool:
    return session.state is State.PROCESSED and {copy.state for copy in session.copies or []} <= {State.VERIFIED}
