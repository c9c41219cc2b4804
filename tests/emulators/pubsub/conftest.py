"""The real process over real sockets, and whoever publishes, pulls and is called."""

import json
import time
import urllib.error
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from emulators.pubsub.process import start_pubsub
from tests.pubsub_peer import PubsubPeer

SECONDS = 15


class Puller:
    """One subscription, as its consumer sees it."""

    def __init__(self, peer: PubsubPeer, name: str) -> None:
        self.peer, self.name = peer, name

    def pull(self, most: int = 10, *, waits: bool = True) -> list[dict[str, Any]]:
        wish = {"maxMessages": most, "returnImmediately": not waits}
        answer = self.peer.call("POST", f"v1/{self.name}:pull", wish)
        return list(answer.get("receivedMessages", ()))

    def acknowledge(self, *ack_ids: str) -> None:
        self.peer.call("POST", f"v1/{self.name}:acknowledge", {"ackIds": ack_ids})

    def modify(self, seconds: int, *ack_ids: str) -> None:
        wish = {"ackIds": ack_ids, "ackDeadlineSeconds": seconds}
        self.peer.call("POST", f"v1/{self.name}:modifyAckDeadline", wish)


@pytest.fixture(scope="session")
def started() -> Iterator[PubsubPeer]:
    with start_pubsub(arguments=["--wait-seconds=2"]) as process:
        yield PubsubPeer(process.endpoint)


@pytest.fixture
def peer(started: PubsubPeer) -> Iterator[PubsubPeer]:
    """Well-behaved at the beginning of each test."""
    yield started
    started.call("PUT", "_emulator/faults", {})


def refusal(call: Callable[[], object]) -> tuple[int, str]:
    """Status and `google.rpc.Code` of what is refused."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        call()
    with refused.value as answer:
        return answer.code, str(json.load(answer)["error"]["status"])


def eventually(is_so: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < ends, what
        time.sleep(0.02)  # who works here is another process
