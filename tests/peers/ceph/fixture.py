"""The Ceph of a test session: started by the first test that asks for it, gone with the session."""

import os
from collections.abc import Iterator

import pytest

from tests.peers.ceph.cluster import PACKAGES, Ceph, missing_commands, running_ceph


@pytest.fixture(scope="session")
def ceph() -> Iterator[Ceph]:
    missing = missing_commands()
    if missing:
        reason = f"{', '.join(missing)} not found: apt-get install --no-install-recommends {' '.join(PACKAGES)}"
        if os.environ.get("REQUIRE_PEERS"):
            pytest.fail(reason)
        pytest.skip(reason)
    with running_ceph() as running:
        yield running
