"""Many completions by one call against the real thing: broker, looker, consumer and strict store, each a process."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from yarl import URL

from broker.contract import State
from broker.dev.stack import Stack, StackOptions, start_stack
from uploader.client import BrokerClient
from uploader.retry import RetryPolicy
from uploader.standings import Told

PATIENT = RetryPolicy(attempts=60, first_delay=timedelta(milliseconds=20), longest_delay=timedelta(seconds=1))
BODY = b"x" * 1_000


@pytest.fixture(scope="module", params=["s3", "gcs"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory: Path = tmp_path_factory.mktemp("stack") / "dev"
    policy = {"first_look": "1h"}
    options = StackOptions(directory=directory, provider=request.param, policy=policy, log_level="debug")
    running = start_stack(options)
    yield running
    running.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def key_of(stack: Stack) -> dict[str, str]:
    return {"Authorization": f"Bearer {stack.about.api_key}"}


def client_of(stack: Stack, http: aiohttp.ClientSession) -> BrokerClient:
    return BrokerClient(session=http, url=URL(stack.about.broker), headers=key_of(stack), retry=PATIENT)


async def minted(stack: Stack, http: aiohttp.ClientSession, count: int) -> list[dict[str, Any]]:
    digest = hashlib.sha256(BODY).hexdigest()
    wish = {"filename": "a.bin", "size_bytes": len(BODY), "metadata": {"of": digest}}
    url, body = f"{stack.about.broker}/upload-sessions/batch", {"sessions": [wish] * count}
    async with http.post(url, json=body, headers=key_of(stack)) as answer:
        assert answer.status == 200
        return [one["session"] for one in (await answer.json())["sessions"]]


async def put(http: aiohttp.ClientSession, session: dict[str, Any]) -> None:
    request = session["upload"]["request"]
    url = URL(request["url"], encoded=True)
    async with http.put(url, data=BODY, headers=request["headers"], skip_auto_headers=["Content-Type"]) as answer:
        assert answer.status == 200, await answer.text()


def standing(told: list[Told]) -> list[tuple[State | None, bool]]:
    return [(one.session.state if one.session else None, one.is_looked_at) for one in told]


async def test_what_is_there_is_verified_and_what_is_not_is_known_not_to_be(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    sessions = await minted(stack, http, 60)
    await asyncio.gather(*(put(http, session) for session in sessions[:40]))
    told = await client_of(stack, http).complete_many([session["id"] for session in sessions], _quiet)
    assert all(_is_settled(one) and one.is_looked_at for one in told[:40])
    assert standing(told[40:]) == [(State.PENDING, True)] * 20


async def test_a_broker_that_is_killed_in_the_middle_is_asked_again(stack: Stack, http: aiohttp.ClientSession) -> None:
    sessions = await minted(stack, http, 200)
    await asyncio.gather(*(put(http, session) for session in sessions))
    ids, client = [session["id"] for session in sessions], client_of(stack, http)
    before = len(_told(stack, "upload.verified"))
    asking = asyncio.create_task(client.complete_many(ids, lambda *_: None))
    async with asyncio.timeout(60):  # a broker starts again in it
        while len(_told(stack, "upload.verified")) == before:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0)
        stack.broker.kill()
        await asyncio.to_thread(stack.broker.start)
        await asking
        while not all(_is_settled(one) for one in await client.complete_many(ids, _quiet)):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.2)
    verified = _told(stack, "upload.verified")
    assert len(verified) == len(set(verified))


def _told(stack: Stack, event: str) -> list[str]:
    """Of which sessions the broker logged it."""
    lines = [line for line in stack.broker.log.read_bytes().splitlines() if event.encode() in line]
    return [msgspec.json.decode(line)["session_id"] for line in lines]


def _is_settled(told: Told) -> bool:
    return told.session is not None and told.session.state in {State.VERIFIED, State.PROCESSING, State.PROCESSED}


def _quiet(_what: str, why: str, _pause: timedelta, _attempt: int) -> None:
    raise AssertionError(f"asked again: {why}")
