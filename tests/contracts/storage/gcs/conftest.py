"""What only Cloud Storage has runs over the emulator of it."""

from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest

from tests.contracts.storage.gcs.stores import GcsStore

Misbehave = Callable[..., Awaitable[None]]


@pytest.fixture(scope="session")
def store(gcs_store: GcsStore) -> GcsStore:
    return gcs_store


@pytest.fixture
async def misbehave(store: GcsStore, http: aiohttp.ClientSession) -> AsyncIterator[Misbehave]:
    """Tells the emulator what to do wrong from now on; harmless again afterwards."""

    async def tell(**faults: float) -> None:
        async with http.put(f"{store.url}/_emulator/faults", json=faults) as answer:
            assert answer.status == 200

    yield tell
    await tell()
