"""Start emulated Google identity services as a process of their own, and be sure that it ends (`emulators/child.py`).

with start_google_iam(accounts=(BROKER,), impersonate={BROKER: (WRITER,)}) as iam:
    service_account.Credentials.from_service_account_file(iam.key_files[BROKER], …)
"""

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from emulators.child import Child, spawn
from emulators.google_iam.ready import Ready


class GoogleIamProcess(Child):
    """A running emulator."""

    def __init__(self, process: subprocess.Popen[bytes], ready: Ready) -> None:
        super().__init__(process)
        self.endpoint = ready.endpoint
        self.key_files = {email: Path(path) for email, path in ready.key_files.items()}
        self.workload_identity_file = Path(ready.workload_identity_file)
        self.workload_identity_url_file = Path(ready.workload_identity_url_file)

    @property
    def host(self) -> str:
        """HOST:PORT, as `GCE_METADATA_HOST` wants it."""
        return self.endpoint.removeprefix("http://")


def start_google_iam(
    *,
    data: Path | None = None,
    listen: str = "127.0.0.1:0",
    accounts: Iterable[str] = (),
    impersonate: Mapping[str, Iterable[str]] | None = None,
    delegate: Mapping[str, Iterable[str]] | None = None,
    latency_ms: int = 0,
    arguments: Iterable[str] = (),
    stderr: IO[bytes] | int | None = None,
) -> GoogleIamProcess:
    """Start an emulator and wait until it answers.

    `impersonate` and `delegate` say by source which targets; the source `workload` is the external workload of the
    workload identity files. `arguments` are any others of its options.

    :raises RuntimeError: when it ends, or says nothing, instead of getting ready.
    """
    options = [
        f"--listen={listen}",
        f"--latency-ms={latency_ms}",
        *((f"--data={data}",) if data else ()),
        *(f"--account={each}" for each in accounts),
        *(f"--impersonate={source}={each}" for source, targets in (impersonate or {}).items() for each in targets),
        *(f"--delegate={source}={each}" for source, targets in (delegate or {}).items() for each in targets),
        *arguments,
    ]
    return GoogleIamProcess(*spawn("google-iam", options, Ready, stderr=stderr))
