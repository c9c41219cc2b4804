"""Start an emulated S3 as a process of its own, and be sure that it ends (`child.py` says how).

with start_s3(buckets=("uploads",), notify={"uploads": "http://127.0.0.1:8080/notifications/s3"}) as s3:
    boto3.client("s3", endpoint_url=s3.endpoint, …)
"""

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

import msgspec

from emulators.child import Child, spawn


class StartedAccount(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    access_key: str
    secret_key: str
    session_token: str | None = None


class _Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The line that `--json` prints."""

    endpoint: str
    region: str
    accounts: list[StartedAccount]
    buckets: list[str]


class S3Process(Child):
    """A running emulator. `access_key` and `secret_key` are the first account's, `bucket` is the first bucket."""

    def __init__(self, process: subprocess.Popen[bytes], ready: _Ready) -> None:
        super().__init__(process)
        self.endpoint = ready.endpoint
        self.region = ready.region
        self.accounts = tuple(ready.accounts)
        self.access_key = ready.accounts[0].access_key
        self.secret_key = ready.accounts[0].secret_key
        self.bucket = ready.buckets[0]


def start_s3(
    *,
    data: Path | None = None,
    listen: str = "127.0.0.1:0",
    accounts: Iterable[str] = (),
    buckets: Iterable[str] = ("uploads",),
    notify: Mapping[str, str] | None = None,
    arguments: Iterable[str] = (),
    stderr: IO[bytes] | int | None = None,
) -> S3Process:
    """Start an emulator and wait until it answers.

    `accounts` and `buckets` are spelled as on the command line, `arguments` are any others of its options.

    :raises RuntimeError: when it ends, or says nothing, instead of getting ready.
    """
    options = [
        f"--listen={listen}",
        *((f"--data={data}",) if data else ()),
        *(f"--account={each}" for each in accounts),
        *(f"--bucket={each}" for each in buckets),
        *(f"--notify={bucket}={url}" for bucket, url in (notify or {}).items()),
        *arguments,
    ]
    return S3Process(*spawn("s3", options, _Ready, stderr=stderr))
