"""What only Cloud Storage has runs over the emulator of it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import aiohttp
import pytest

from tests.contracts.storage.gcs.stores import GcsStore, gcs_emulator

Misbehave = Callable[..., Awaitable[None]]


@pytest.fixture(scope="session")
def store(gcs_store: GcsStore) -> GcsStore:
    return gcs_store


@pytest.fixture(scope="session")
def lax_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsStore]:
    """It takes bytes beyond the declared size, which no document forbids."""
    with gcs_emulator(tmp_path_factory.mktemp("lax"), "--lax-resumable-size") as running:
        yield running


@pytest.fixture
async def misbehave(store: GcsStore, http: aiohttp.ClientSession) -> AsyncIterator[Misbehave]:
    """Tells the emulator what to do wrong from now on; harmless again afterwards."""

    async def tell(**faults: float) -> None:
        async with http.put(f"{store.url}/_emulator/faults", json=faults) as answer:
            assert answer.status == 200

    yield tell
    await tell()
