"""The emulator's control plane, from the outside."""

import json
import time
from collections.abc import Callable
from typing import Any

from emulators.process import S3Process
from tests.emulators.wire import exchange


def faults(process: S3Process, **settings: Any) -> None:
    """Replace all settings; without any, behave again."""
    answer = exchange(process.endpoint, "PUT", "/_emulator/faults", body=json.dumps(settings).encode())
    assert answer.status == 200, answer.body


def counters(process: S3Process, until: Callable[[Any], bool] = lambda _: True, seconds: float = 10.0) -> Any:
    """The counters, when they look as wanted."""
    deadline = time.monotonic() + seconds
    while not until(seen := json.loads(exchange(process.endpoint, "GET", "/_emulator/counters").body)):
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)
    return seen
