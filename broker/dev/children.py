"""Child processes that are started, awaited, killed and started again: for `dev`, the demo and tests."""

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from broker.domain.errors import ConfigurationInvalid

READY_SECONDS = 30.0
STOP_SECONDS = 15.0
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH", "PYTHONWARNINGS")


@dataclass(slots=True, kw_only=True)
class Child:
    """One process: its argv and environment stay the same over restarts, its stderr is appended to one file.

    :param is_announced: it prints one JSON line on stdout when it is ready, which `start` returns.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    directory: Path
    is_announced: bool = True
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def log(self) -> Path:
        return self.directory / f"{self.name}.log"

    @property
    def out(self) -> Path:
        """Where an unannounced child's stdout goes."""
        return self.directory / f"{self.name}.out"

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> dict[str, Any]:
        """:raises ConfigurationInvalid: it ended, or did not say that it is ready; with its last words."""
        with self.log.open("ab") as log, contextlib.ExitStack() as stack:
            stdout = subprocess.PIPE if self.is_announced else stack.enter_context(self.out.open("ab"))
            self.process = subprocess.Popen(  # noqa: S603 - our own commands
                list(self.argv), env=dict(self.env), stdin=subprocess.DEVNULL, stdout=stdout, stderr=log
            )
        return self._announcement() if self.is_announced else {}

    def kill(self) -> None:
        """As the kernel would: no goodbye."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM; SIGKILL when it does not listen."""
        self._end(signal.SIGTERM)

    def last_words(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])
        return ""

    def _end(self, with_signal: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(with_signal)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
        if process.stdout:
            process.stdout.close()

    def _announcement(self) -> dict[str, Any]:
        assert self.process is not None  # noqa: S101 - for the type checker
        assert self.process.stdout is not None  # noqa: S101
        line = _read_line(self.process.stdout.fileno(), READY_SECONDS)
        if not line:
            words = self.last_words()
            self.kill()
            raise ConfigurationInvalid(f"{self.name} did not start; its last words:\n{words}")
        answer: dict[str, Any] = msgspec.json.decode(line)
        return answer


@dataclass(slots=True)
class Started:
    """Children in the order of their start, for whoever has to end them when one after them fails."""

    children: list[Child] = field(default_factory=list)

    def start(self, child: Child) -> dict[str, Any]:
        """:raises ConfigurationInvalid: as `Child.start`."""
        self.children.append(child)
        return child.start()

    def stop(self) -> None:
        for child in reversed(self.children):
            child.stop()


def python_child(
    name: str, directory: Path, module: Sequence[str], env: Mapping[str, str], *, is_announced: bool = True
) -> Child:
    """A module of ours as a child, with an environment that holds no secret but those in `env`."""
    kept = {key: value for key, value in os.environ.items() if key in _KEPT or key.startswith("OTEL_")}
    return Child(
        name=name,
        argv=[sys.executable, "-m", *module],
        env=kept | dict(env),
        directory=directory,
        is_announced=is_announced,
    )


def free_port() -> int:
    """For a child that has to come back where it was."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _read_line(descriptor: int, seconds: float) -> bytes:
    """One line, or what came before the end or the time was over."""
    end, data = time.monotonic() + seconds, b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while not data.endswith(b"\n"):
            if not selector.select(max(0.0, end - time.monotonic())):
                return b""
            chunk = os.read(descriptor, 65_536)
            if not chunk:
                return b""
            data += chunk
    return data
