"""The stores that the suite runs over. A new store is one more `pytest.param`."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import aiohttp
import pytest

from tests.contracts.storage.stores import Place, PlaceWith, Send, Store, emulator, place_on


@pytest.fixture(scope="session", params=[pytest.param(emulator, id="emulator")])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    start: Callable[[Path], AbstractContextManager[Store]] = request.param
    with start(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
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
