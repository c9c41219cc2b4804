"""Google's own emulator of a test session: started by the first test that asks for it, gone with the session."""

from collections.abc import Iterator

import pytest

from tests.peers.pubsub.emulator import PACKAGE, find_emulator, running_emulator
from tests.pubsub_peer import PubsubPeer


@pytest.fixture(scope="session")
def google_pubsub() -> Iterator[PubsubPeer]:
    command = find_emulator()
    if command is None:
        pytest.skip(f"{PACKAGE} and java not found: https://cloud.google.com/pubsub/docs/emulator")
    with running_emulator(command) as running:
        yield running
