"""A process of its own that is sure to end: what every emulator's `start_…` is made of.

    class _Ready(msgspec.Struct, frozen=True, kw_only=True):
        endpoint: str

    class GcsProcess(Child):
        def __init__(self, process: subprocess.Popen[bytes], ready: _Ready) -> None:
            super().__init__(process)
            self.endpoint = ready.endpoint

    def start_gcs(…) -> GcsProcess:
        process, ready = spawn("gcs", options, _Ready)
        return GcsProcess(process, ready)

The child ends with the `with` block, with `stop()`, or when the parent dies in whatever way: it is started with
`--exit-with-stdin` and watches its stdin, which the kernel closes.
"""

import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from selectors import EVENT_READ, DefaultSelector
from types import TracebackType
from typing import IO, Self, TypeVar

import msgspec

READY_SECONDS = 20.0
STOP_SECONDS = 5.0

Ready = TypeVar("Ready", bound=msgspec.Struct)


class Child:
    """A running emulator."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

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


def spawn(
    command: str, options: Iterable[str], ready: type[Ready], *, stderr: IO[bytes] | int | None = None
) -> tuple[subprocess.Popen[bytes], Ready]:
    """Start `python -m emulators COMMAND` and wait for its line of JSON, which is read as a `ready`.

    :raises RuntimeError: when it ends, or says nothing, instead of getting ready.
    """
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "emulators", command, "--json", "--exit-with-stdin", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )
    try:
        return process, msgspec.json.decode(_first_line(process), type=ready)
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
