"""Start an emulated Pub/Sub as a process of its own, and be sure that it ends (`emulators/child.py` says how).

topic = "projects/p/topics/uploads"
with start_pubsub(topics=[topic], subscriptions=[f"projects/p/subscriptions/s={topic}"]) as pubsub:
    …  # pubsub.endpoint, or PUBSUB_EMULATOR_HOST for clients that speak REST
"""

import subprocess
from collections.abc import Iterable
from typing import IO

import msgspec

from emulators.child import Child, spawn


class _Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The line that `--json` prints."""

    endpoint: str


class PubsubProcess(Child):
    """A running emulator."""

    def __init__(self, process: subprocess.Popen[bytes], ready: _Ready) -> None:
        super().__init__(process)
        self.endpoint = ready.endpoint


def start_pubsub(
    *,
    topics: Iterable[str] = (),
    subscriptions: Iterable[str] = (),
    iam: str | None = None,
    listen: str = "127.0.0.1:0",
    arguments: Iterable[str] = (),
    stderr: IO[bytes] | int | None = None,
) -> PubsubProcess:
    """Start an emulator and wait until it answers.

    `topics` and `subscriptions` are spelled as on the command line, `arguments` are any others of its options.

    :raises RuntimeError: when it ends, or says nothing, instead of getting ready.
    """
    options = [
        f"--listen={listen}",
        *((f"--iam={iam}",) if iam else ()),
        *(f"--topic={each}" for each in topics),
        *(f"--subscription={each}" for each in subscriptions),
        *arguments,
    ]
    return PubsubProcess(*spawn("pubsub", options, _Ready, stderr=stderr))
