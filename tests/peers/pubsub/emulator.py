"""Google's own Pub/Sub emulator on loopback, for one test session: in Java, in memory; ready within two seconds.

From Google's packages (`google-cloud-cli-pubsub-emulator`), which Debian does not have: where they are missing, tests
say so and are skipped, also where CI demands every other peer. It checks no token and sends none.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.pubsub_peer import PubsubPeer

PACKAGE = "google-cloud-cli-pubsub-emulator"
START_SECONDS = 30.0
_INSTALLED = Path("platform/pubsub-emulator/bin/cloud-pubsub-emulator")
_ROOTS = (Path("/usr/lib/google-cloud-sdk"), Path("/opt/google-cloud-sdk"), Path.home() / "google-cloud-sdk")


def find_emulator() -> str | None:
    roots = (Path(os.environ["CLOUDSDK_ROOT_DIR"]), *_ROOTS) if "CLOUDSDK_ROOT_DIR" in os.environ else _ROOTS
    placed = next((str(root / _INSTALLED) for root in roots if (root / _INSTALLED).is_file()), None)
    return placed if shutil.which("java") else None


@contextmanager
def running_emulator(command: str) -> Iterator[PubsubPeer]:
    port = _free_port()
    process = subprocess.Popen(
        [command, "--host=127.0.0.1", f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a shell script in front of Java
    )
    try:
        _wait(f"http://127.0.0.1:{port}/", process)
        yield PubsubPeer(f"http://127.0.0.1:{port}")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends:
        assert process.poll() is None, "it ended"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.05)  # who gets ready is another process
    raise AssertionError(f"not ready after {START_SECONDS} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
