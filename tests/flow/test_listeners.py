"""Two thousand listeners of a real broker process: what they cost it, what they cost Redis, and how they end.

Prints what it measured; run with `-s` to see it.
"""

import asyncio
import os
import random
import re
import resource
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import redis

from broker.dev.stack import Stack, StackOptions, start_stack

LISTENERS = 2_000
FEW = 20
CONSUMERS = 20
WATCHED = 10  # sessions that they share
AT_ONCE = 100  # below the backlog of a listening socket
IDLE_SECONDS = 2.0
WITHIN = 60


@pytest.fixture(scope="module", autouse=True)
def _many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def stack(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The looker is another process, so what a listener is told always comes by the ledger."""
    consumers = getattr(request, "param", 0)
    running = start_stack(StackOptions(directory=tmp_path / "dev", consumers=consumers, lookers=1, shards=4))
    yield running
    running.stop()


@dataclass(slots=True)
class Place:
    stack: Stack
    client: httpx.AsyncClient
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def close(self) -> None:
        for writer in self.writers:
            writer.close()

    @property
    def process(self) -> psutil.Process:
        assert self.stack.broker.process is not None
        return psutil.Process(self.stack.broker.process.pid)

    async def mint(self) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self.stack.about.api_key}"}
        wish = {"filename": "report.csv", "size_bytes": 3}
        answer = await self.client.post("/upload-sessions", json=wish, headers=headers)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def upload(self, session: dict[str, Any]) -> None:
        request = session["upload"]["request"]
        put = await self.client.put(request["url"], content=b"abc", headers=request["headers"])
        assert put.status_code == 200, put.text

    async def open(self, session: dict[str, Any]) -> asyncio.StreamReader:
        """As small a client as there is, for it shares the machine with what is measured."""
        broker = urlsplit(self.stack.about.broker)
        reader, writer = await asyncio.open_connection(broker.hostname, broker.port)
        self.writers.append(writer)
        head = f"GET /upload-sessions/{session['id']}/events HTTP/1.1\r\nhost: broker\r\n"
        writer.write(f"{head}authorization: Bearer {session['token']}\r\n\r\n".encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        return reader

    async def listen(self, session: dict[str, Any]) -> asyncio.StreamReader:
        reader = await self.open(session)
        await reader.readuntil(b'"state":"pending"')
        return reader

    async def listen_all(self, sessions: list[dict[str, Any]], count: int) -> list[asyncio.StreamReader]:
        readers: list[asyncio.StreamReader] = []
        while len(readers) < count:
            few = range(min(AT_ONCE, count - len(readers)))
            readers += await asyncio.gather(*(self.listen(sessions[number % len(sessions)]) for number in few))
        return readers

    async def idle_cost(self) -> tuple[float, float]:
        """Calls to Redis a second by the broker's own kind of reading, and CPU seconds of the broker a second."""
        before, cpu, start = self._reads(), sum(self.process.cpu_times()[:2]), time.monotonic()
        await asyncio.sleep(IDLE_SECONDS)  # the measure itself
        passed = time.monotonic() - start
        return (self._reads() - before) / passed, (sum(self.process.cpu_times()[:2]) - cpu) / passed

    async def status(self, session: dict[str, Any]) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {session['token']}"}
        return dict((await self.client.get(f"/upload-sessions/{session['id']}", headers=headers)).json())

    def looks_for_jobs(self) -> int:
        """Over several shards nobody but who leases asks so while nothing is due: which queues have visible jobs."""
        with redis.Redis.from_url(self.stack.about.redis) as client:
            stats = client.info("commandstats")
        return int(stats.get("cmdstat_zrangebyscore", {}).get("calls", 0)) // self.stack.options.shards

    def _reads(self) -> int:
        """The looker beside it claims and leases; nobody but a broker with listeners reads streams or records."""
        with redis.Redis.from_url(self.stack.about.redis) as client:
            stats = client.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("xrange", "xrevrange", "get"))


@asynccontextmanager
async def place_of(stack: Stack) -> AsyncIterator[Place]:
    async with asyncio.timeout(WITHIN), httpx.AsyncClient(base_url=stack.about.broker, timeout=WITHIN) as client:
        place = Place(stack, client)
        try:
            yield place
        finally:
            place.close()


async def test_what_is_asked_of_redis_does_not_grow_with_the_listeners_and_all_hear_at_once(stack: Stack) -> None:
    async with place_of(stack) as place:
        sessions = [await place.mint() for _ in range(WATCHED)]
        few = await place.listen_all(sessions, FEW)
        calls_of_few, _ = await place.idle_cost()
        before = place.process.memory_info().rss
        many = few + await place.listen_all(sessions, LISTENERS - FEW)
        each_kb = (place.process.memory_info().rss - before) / (LISTENERS - FEW) / 1_000
        calls_of_many, cpu = await place.idle_cost()
        print(f"{LISTENERS} listeners: {each_kb:.1f} kB each, {cpu * 100:.1f} % of a core idle")
        print(f"Redis: {calls_of_few:.0f} reads/s for {FEW} listeners, {calls_of_many:.0f} for {LISTENERS}")
        assert calls_of_many < calls_of_few * 1.5
        await asyncio.gather(*(place.upload(session) for session in sessions))
        start = time.monotonic()
        await asyncio.gather(*(reader.readuntil(b'"state":"verified"') for reader in many))
        print(f"all {LISTENERS} heard of {WATCHED} steps within {time.monotonic() - start:.2f} s")


@asynccontextmanager
async def waiting_consumers(place: Place) -> AsyncIterator[list[asyncio.Task[httpx.Response]]]:
    headers = {"authorization": f"Bearer {place.stack.about.consumer_key}"}
    start = place.looks_for_jobs()
    polls = [
        asyncio.create_task(place.client.post("/jobs/lease", json={"wait_seconds": 20}, headers=headers))
        for _ in range(CONSUMERS)
    ]
    try:
        while place.looks_for_jobs() < start + 2 * CONSUMERS:  # noqa: ASYNC110 - until all of them wait
            await asyncio.sleep(0.01)
        yield polls
    finally:
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)


async def test_consumers_that_wait_ask_seldom_and_hear_at_once_of_what_another_process_verified(stack: Stack) -> None:
    async with place_of(stack) as place, waiting_consumers(place) as polls:
        before = place.looks_for_jobs()
        await asyncio.sleep(IDLE_SECONDS)  # the measure itself
        each = (place.looks_for_jobs() - before) / IDLE_SECONDS / CONSUMERS
        print(f"{CONSUMERS} idle consumers look for jobs {each:.1f} times a second each")
        assert each < 3.5  # one look when a second begins and one when it ends
        session = await place.mint()
        await place.upload(session)
        while (await place.status(session))["state"] == "pending":  # noqa: ASYNC110 - nobody would set an event
            await asyncio.sleep(0.005)
        began = time.monotonic()
        done, _ = await asyncio.wait(polls, return_when=asyncio.FIRST_COMPLETED)
        print(f"leased {time.monotonic() - began:.3f} s later")
        assert [poll.result().json()["jobs"][0]["id"] for poll in done] == [session["id"]]
        assert time.monotonic() - began < 0.5  # a tail that is late is a tenth of a second late


async def test_a_stopping_broker_sends_its_listeners_home_at_once(stack: Stack) -> None:
    async with place_of(stack) as place:
        readers = await place.listen_all([await place.mint()], 200)
        process = stack.broker.process
        assert process is not None
        os.kill(process.pid, signal.SIGTERM)
        start = time.monotonic()
        ends = await asyncio.gather(*(reader.read() for reader in readers))
        assert all(end.endswith(b"\r\n0\r\n\r\n") for end in ends)  # whole, so that a client knows it was no accident
        assert await asyncio.to_thread(process.wait, 10) == 0
        print(f"gone after {time.monotonic() - start:.2f} s")
        assert time.monotonic() - start < 5


async def test_a_listener_hears_again_after_redis_was_away(stack: Stack) -> None:
    async with place_of(stack) as place:
        session = await place.mint()
        reader = await place.listen(session)
        stack.redis.kill()
        stack.redis.start()
        await place.upload(session)
        await reader.readuntil(b'"state":"verified"')


@pytest.mark.parametrize("stack", [2], indirect=True, ids=["2 consumers"])
async def test_whoever_comes_when_is_told_the_whole_life_of_a_session_once(stack: Stack) -> None:
    """While a looker and two consumers move forty sessions, five listeners of each come at any moment."""
    dice = random.Random(7)
    async with place_of(stack) as place:
        sessions = await asyncio.gather(*(place.mint() for _ in range(40)))

        async def told(session: dict[str, Any]) -> list[int]:
            await asyncio.sleep(dice.random())
            reader = await place.open(session)
            text = (await reader.readuntil(b"0\r\n\r\n")).decode()
            return [int(found) for found in re.findall(r"^id: (\d+)$", text, re.MULTILINE)]

        listening = [asyncio.create_task(told(session)) for session in sessions for _ in range(5)]
        for session in sessions:
            await place.upload(session)
        lives = await asyncio.gather(*listening)
        for number, session in enumerate(sessions):
            steps = (await place.status(session))["timeline"]
            assert [step["state"] for step in steps] == ["pending", "verified", "processing", "processed"]
            expected = [round(datetime.fromisoformat(step["at"]).timestamp() * 1_000) for step in steps]
            assert lives[5 * number : 5 * number + 5] == [expected] * 5
