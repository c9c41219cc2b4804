"""One running stack for a module, all real processes: private Redis, emulator, broker with looker, one consumer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.dev.stack import Stack, StackOptions, start_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory: Path = tmp_path_factory.mktemp("stack") / "dev"
    running = start_stack(StackOptions(directory=directory, policy={"first_look": "1s"}, log_level="debug"))
    yield running
    running.stop()
