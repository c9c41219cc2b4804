"""What all suites on the real Ceph share."""

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.contracts.storage.s3.stores import S3Store, real_ceph
from tests.peers.ceph.cluster import Ceph


@pytest.fixture(scope="session")
def store(ceph: Ceph) -> Iterator[S3Store]:
    with real_ceph(ceph) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session
