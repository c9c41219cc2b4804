"""Start an emulator as a process of its own, and be sure that it ends.

    with start_s3(buckets=("uploads",), notify={"uploads": "http://127.0.0.1:8080/notifications/s3"}) as s3:
        boto3.client("s3", endpoint_url=s3.endpoint, …)

The child ends with the block, with `stop()`, or when the parent dies in whatever way: it watches its stdin, which
the kernel closes.
"""

import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from types import TracebackType
from typing import IO, Self

import msgspec

READY_SECONDS = 20.0
STOP_SECONDS = 5.0


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


class S3Process:
    """A running emulator. `access_key` and `secret_key` are the first account's, `bucket` is the first bucket."""

    def __init__(self, process: subprocess.Popen[bytes], ready: _Ready) -> None:
        self._process = process
        self.endpoint = ready.endpoint
        self.region = ready.region
        self.accounts = tuple(ready.accounts)
        self.access_key = ready.accounts[0].access_key
        self.secret_key = ready.accounts[0].secret_key
        self.bucket = ready.buckets[0]

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """End it and wait; may be called twice."""
        _end(self._process)

    def kill(self) -> None:
        """End it the hard way (SIGKILL), as a crash would."""
        self._process.kill()
        _end(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


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
    ]
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "emulators", "s3", "--json", "--exit-with-stdin", *options, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )
    try:
        return S3Process(process, msgspec.json.decode(_first_line(process), type=_Ready))
    except BaseException:
        process.kill()
        _end(process)
        raise


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    if process.stdout is None:
        raise RuntimeError("stdout of the emulator is not a pipe")
    with DefaultSelector() as selector:
        selector.register(process.stdout, EVENT_READ)
        if not selector.select(READY_SECONDS):
            raise RuntimeError(f"the emulator was not ready after {READY_SECONDS} s")
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the emulator ended with status {process.wait(STOP_SECONDS)}; its stderr says why")
    return line


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
