"""The stores that the suite runs over. A new store is one session fixture and one more `pytest.param`."""

import uuid
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.contracts.storage.rows import STORES
from tests.contracts.storage.stores import (
    Place,
    PlaceWith,
    Send,
    Store,
    lenient_emulator,
    place_on,
    real_ceph,
    strict_emulator,
)


@pytest.fixture(scope="session")
def emulator_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with strict_emulator(tmp_path_factory.mktemp("strict")) as running:
        yield running


@pytest.fixture(scope="session")
def lenient_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with lenient_emulator(tmp_path_factory.mktemp("lenient")) as running:
        yield running


@pytest.fixture(scope="session")
def ceph_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with real_ceph(request.getfixturevalue("ceph")) as running:
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
    """The adapters on the plain bucket, with another credential."""
    return lambda credential: place_on(store, store.bucket, http, credential)


@pytest.fixture
def place(store: Store, http: aiohttp.ClientSession) -> Place:
    return place_on(store, store.bucket, http, store.credential)


@pytest.fixture
def versioned_place(store: Store, http: aiohttp.ClientSession) -> Place:
    return place_on(store, store.versioned_bucket, http, store.credential)


@pytest.fixture
def key() -> str:
    return f"uploads/{uuid.uuid4().hex}/report.csv"


@pytest.fixture
def send(http: aiohttp.ClientSession) -> Send:
    return Send(http)
