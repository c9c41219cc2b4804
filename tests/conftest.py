"""What every suite shares: peers that CI demands, and the rule that no test leaves loopback."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.peers.ceph.fixture import ceph
from tests.peers.pubsub.fixture import google_pubsub

__all__ = ["ceph", "google_pubsub"]  # fixtures of every suite


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """Names are not looked up and addresses are not dialled beyond this machine."""
    resolve, dial = socket.getaddrinfo, socket.socket.connect

    def guarded_resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in {None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0"} and not str(name).endswith(".localhost"):  # noqa: S104
            raise AssertionError(f"a test wants to leave loopback: {name}")
        return resolve(host, *args, **kwargs)

    def guarded_dial(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6} and address[0] not in {"127.0.0.1", "::1", "localhost"}:
            raise AssertionError(f"a test wants to leave loopback: {address[0]}")
        return dial(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket, "getaddrinfo", guarded_resolve)
    patch.setattr(socket.socket, "connect", guarded_dial)
    yield
    patch.undo()


def pytest_report_header() -> str:
    return f"real peers {'required' if os.environ.get('REQUIRE_PEERS') else 'used where installed'}"
