"""Start an emulated Cloud Storage as a process of its own, and be sure that it ends (`emulators/child.py` says how).

with start_gcs(iam=iam.endpoint, buckets=("uploads",), grants=(f"uploads:{writer}=storage.objects.create",)) as gcs:
    storage.Client(client_options={"api_endpoint": gcs.endpoint}, …)
"""

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

import msgspec

from emulators.child import Child, spawn


class _Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The line that `--json` prints."""

    endpoint: str


class GcsProcess(Child):
    """A running emulator."""

    def __init__(self, process: subprocess.Popen[bytes], ready: _Ready) -> None:
        super().__init__(process)
        self.endpoint = ready.endpoint


def start_gcs(
    *,
    iam: str,
    data: Path | None = None,
    listen: str = "127.0.0.1:0",
    buckets: Iterable[str] = ("uploads",),
    grants: Iterable[str] = (),
    notify: Mapping[str, str] | None = None,
    arguments: Iterable[str] = (),
    stderr: IO[bytes] | int | None = None,
) -> GcsProcess:
    """Start an emulator and wait until it answers.

    `buckets` and `grants` are spelled as on the command line, `arguments` are any others of its options.

    :raises RuntimeError: when it ends, or says nothing, instead of getting ready.
    """
    options = [
        f"--listen={listen}",
        f"--iam={iam}",
        *((f"--data={data}",) if data else ()),
        *(f"--bucket={each}" for each in buckets),
        *(f"--grant={each}" for each in grants),
        *(f"--notify={bucket}={url}" for bucket, url in (notify or {}).items()),
        *arguments,
    ]
    return GcsProcess(*spawn("gcs", options, _Ready, stderr=stderr))
