"""The stores that the suite runs over. A new store is one session fixture and one more line in rows.py."""

import uuid
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from broker.clock import SystemClock
from tests.contracts.storage.gcs.stores import GcsStore, gcs_emulator
from tests.contracts.storage.resumables import HttpHolder, MemoryHolder, ResumablePlace
from tests.contracts.storage.rows import PROVED_ON, STORES
from tests.contracts.storage.s3.stores import S3Store, lenient_emulator, real_ceph, strict_emulator
from tests.contracts.storage.stores import Place, PlaceWith, Store
from tests.contracts.storage.table import table
from tests.contracts.storage.wire import Send
from tests.memory_bucket import MemoryBucket


@pytest.fixture(scope="session")
def emulator_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    with strict_emulator(tmp_path_factory.mktemp("strict")) as running:
        yield running


@pytest.fixture(scope="session")
def lenient_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    with lenient_emulator(tmp_path_factory.mktemp("lenient")) as running:
        yield running


@pytest.fixture(scope="session")
def ceph_store(request: pytest.FixtureRequest) -> Iterator[S3Store]:
    with real_ceph(request.getfixturevalue("ceph")) as running:
        yield running


@pytest.fixture(scope="session")
def gcs_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsStore]:
    with gcs_emulator(tmp_path_factory.mktemp("gcs")) as running:
        yield running


@pytest.fixture(scope="session", params=[pytest.param(f"{name}_store", id=name) for name in STORES])
def store(request: pytest.FixtureRequest) -> Store:
    running: Store = request.getfixturevalue(request.param)
    return running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    # As the broker's own readers: what is stored, not what it unpacks to.
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20), auto_decompress=False) as session:
        yield session


@pytest.fixture
def place_with(store: Store, http: aiohttp.ClientSession) -> PlaceWith:
    """The ports on the plain bucket, with somebody else's rights."""
    return lambda who: store.place(store.bucket, http, who=who)


@pytest.fixture
def place(store: Store, http: aiohttp.ClientSession) -> Place:
    return store.place(store.bucket, http)


@pytest.fixture
def versioned_place(store: Store, http: aiohttp.ClientSession) -> Place:
    return store.place(store.versioned_bucket, http)


@pytest.fixture
def key() -> str:
    return f"uploads/{uuid.uuid4().hex}/report.csv"


@pytest.fixture
def send(http: aiohttp.ClientSession) -> Send:
    return Send(http)


@pytest.fixture(params=["memory", "gcs"])
def resumable_place(request: pytest.FixtureRequest, http: aiohttp.ClientSession) -> ResumablePlace:
    """A store that holds uploads open, and the twin that the services' tests believe."""
    if request.param == "memory":
        twin = MemoryBucket(clock=SystemClock(), is_resumable=True)
        holder = MemoryHolder(resumables=twin.resumables)
        return ResumablePlace(uploads=twin.resumables, objects=twin, holder=holder)
    gcs: GcsStore = request.getfixturevalue("gcs_store")
    place = gcs.place(gcs.bucket, http)
    return ResumablePlace(uploads=place.resumable, objects=place.objects, holder=HttpHolder(http=http))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the table of guarantees, with the rows whose every claim this run has tried and found true."""
    ended = {
        outcome: [each.nodeid for each in terminalreporter.getreports(outcome) if "test_guarantees.py" in each.nodeid]
        for outcome in ("passed", "failed", "error", "skipped")
    }
    tried = {
        dialect: [
            store
            for store in stores
            if any(f"[{dialect}-on-{store}" in each for each in ended["passed"])
            and not any(f"[{dialect}-on-{store}" in each for name in ended if name != "passed" for each in ended[name])
        ]
        for dialect, stores in PROVED_ON.items()
    }
    if ended["passed"]:
        terminalreporter.section("guarantees of a signed PUT, as this run found them")
        terminalreporter.write_line(table(tried))
