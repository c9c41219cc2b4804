"""Every ledger that the contract suite runs over: the twin in memory and Redis 6.2 and 7, with 1 and with 16 shards."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker.clock import SystemClock
from broker.dev.redis_server import RedisServer, start_redis
from broker.ledger.memory import MemoryLedger
from broker.ledger.redis import RedisLedger
from broker.ledger.wire import Wire
from broker.ports import Ledger
from tests.redis_peers import PEERS, executable_of

PLACES = [pytest.param((peer, shards), id=f"{peer}-{shards}") for peer in ("memory", *PEERS) for shards in (1, 16)]

ServerOf = Callable[[str], RedisServer]


@pytest.fixture(scope="session")
def server_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerOf]:
    """One server a version for the whole session, started when first asked for."""
    running: dict[str, RedisServer] = {}

    def get(peer: str) -> RedisServer:
        if peer not in running:
            executable = executable_of(peer)
            running[peer] = start_redis(tmp_path_factory.mktemp(peer), executable=executable)
            stack.callback(running[peer].stop)
        return running[peer]

    with ExitStack() as stack:
        yield get


@pytest.fixture(params=PEERS)
def server(request: pytest.FixtureRequest, server_of: ServerOf) -> RedisServer:
    """A shared server, empty."""
    found = server_of(request.param)
    asyncio.run(empty(found))
    return found


@pytest.fixture(params=PEERS)
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A server of this test alone, to kill and to flush; it loses nothing that it acknowledged."""
    found = start_redis(tmp_path, executable=executable_of(request.param), appendfsync="always")
    yield found
    found.stop()


@pytest.fixture
async def wire(server: RedisServer) -> AsyncIterator[Wire]:
    """For looking behind the ledger's back."""
    wire = Wire(server.url)
    yield wire
    await wire.close()


async def empty(server: RedisServer) -> None:
    wire = Wire(server.url)
    await wire.call("FLUSHALL")
    await wire.close()


@pytest.fixture(params=PLACES)
async def ledgers(request: pytest.FixtureRequest, server_of: ServerOf) -> AsyncIterator[tuple[Ledger, Ledger]]:
    """Two processes' views of one empty ledger."""
    peer, shards = request.param
    if peer == "memory":
        ledger = MemoryLedger(SystemClock(), shards=shards)
        yield ledger, ledger
        return
    found = server_of(peer)
    await empty(found)
    one, other = RedisLedger(found.url, shards=shards), RedisLedger(found.url, shards=shards)
    yield one, other
    await one.close()
    await other.close()


@pytest.fixture
def ledger(ledgers: tuple[Ledger, Ledger]) -> Ledger:
    return ledgers[0]


@pytest.fixture
def other(ledgers: tuple[Ledger, Ledger]) -> Ledger:
    """The same ledger, over another connection."""
    return ledgers[1]
