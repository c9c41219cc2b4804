"""The real API and use cases in this process, over real Redis servers that a test may kill, stop, fill and replace."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from broker.clock import SystemClock
from broker.dev.redis_server import RedisServer, start_redis
from broker.ledger.redis import RedisLedger
from broker.ledger.wire import Wire
from tests.api.world import World, build
from tests.durability.failover import Address, address_of
from tests.redis_peers import PEERS, executable_of


@pytest.fixture(params=PEERS)
def executable(request: pytest.FixtureRequest) -> Path:
    return executable_of(request.param)


@pytest.fixture
def redis(tmp_path: Path, executable: Path) -> Iterator[RedisServer]:
    """The primary. It syncs before it answers."""
    directory = tmp_path / "primary"
    directory.mkdir()
    server = start_redis(directory, executable=executable, appendfsync="always")
    yield server
    server.kill()


@pytest.fixture
def standby(tmp_path: Path, executable: Path) -> Iterator[RedisServer]:
    """Another server, empty."""
    directory = tmp_path / "standby"
    directory.mkdir()
    server = start_redis(directory, executable=executable, appendfsync="always")
    yield server
    server.kill()


@pytest.fixture
async def address(redis: RedisServer) -> AsyncIterator[Address]:
    async with address_of(redis) as address:
        yield address


@pytest.fixture
async def ledger(address: Address) -> AsyncIterator[RedisLedger]:
    ledger = RedisLedger(address.url, shards=2, durability="strict")
    ledger._wire._reply_timeout = 0.5  # not to wait for seconds
    ledger._wire._connect_timeout = 0.5
    await ledger.prepare()
    yield ledger
    await ledger.close()


@pytest.fixture
async def world(ledger: RedisLedger) -> AsyncIterator[World]:
    world = build(SystemClock(), ledger=ledger)
    async with world.client:
        yield world


@pytest.fixture
async def wire(redis: RedisServer) -> AsyncIterator[Wire]:
    """For turning the primary's settings, behind everybody's back."""
    wire = Wire(redis.url)
    yield wire
    await wire.close()
