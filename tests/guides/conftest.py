"""The guides' own stack: short leases, and no consumer but the samples themselves."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from broker.dev.stack import Stack, StackOptions, start_stack
from uploader import Uploader

LEASE = "3s"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    policy = {"first_look": "1s", "max_failures": 2, "retry_base": "100ms"}
    directory: Path = tmp_path_factory.mktemp("stack") / "dev"
    running = start_stack(StackOptions(directory=directory, consumers=0, lease=LEASE, policy=policy))
    yield running
    running.stop()


@pytest.fixture
async def uploader(stack: Stack) -> AsyncIterator[Uploader]:
    async with Uploader(stack.about.broker, stack.about.api_key) as opened:
        yield opened


def need(*commands: str) -> None:
    """Skips where a program is missing, and fails where CI demanded it."""
    missing = [command for command in commands if shutil.which(command) is None]
    if missing and os.environ.get("REQUIRE_PEERS"):
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
