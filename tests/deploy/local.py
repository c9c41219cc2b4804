"""Runs the services of our Compose file as local processes: each command with its environment, and nothing else.

What is changed on the way, because there are no containers here – all of it, and nothing besides:

1. `NAME:PORT`, where NAME is a service, or an alias of one, *on a network that both share*, becomes 127.0.0.1 and the
   port of one of its replicas. A name on no shared network stays as it is and leads nowhere, as it would.
2. `localhost:PORT`, where PORT is published, becomes 127.0.0.1 and the port of who publishes it.
3. A service's own ports (`ports`, `expose`) become free ones, and 0.0.0.0 becomes 127.0.0.1.
4. Where a volume, a tmpfs or a config is mounted becomes a directory or file of the test.
5. `valkey-server` and `valkey-cli` become `redis-server` and `redis-cli`.

The environment of a process is that of its service and of its image; of this machine's only PATH is there.
"""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.dev.children import free_port
from tests.deploy import compose_file
from tests.deploy.dockerfile import Stage

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PROGRAMS = {"valkey-server": "redis-server", "valkey-cli": "redis-cli"}
HEALTHY_SECONDS = 100.0  # a sweeper that comes before the store is up tries again after a minute
BETWEEN_CHECKS_SECONDS = 0.2


@dataclass(slots=True, kw_only=True)
class Replica:
    """One container that would be."""

    name: str
    service: Mapping[str, Any]
    ports: Mapping[str, int]  # inside → here
    published: Mapping[str, int]  # on the host → here
    directory: Path
    argv: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, env=self.env, cwd=self._cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait_healthy(self) -> None:
        end = time.monotonic() + HEALTHY_SECONDS
        while (found := self.check()).returncode != 0:
            assert self.process is not None
            assert self.process.poll() is None, f"{self.name} ended: {self.words()}"
            assert time.monotonic() < end, f"{self.name} is not healthy: {found.stdout!r} {self.words()}"
            time.sleep(BETWEEN_CHECKS_SECONDS)

    def check(self) -> subprocess.CompletedProcess[bytes]:
        """Its health check, once."""
        kind, *words = self.service["healthcheck"]["test"]
        argv = ["/bin/sh", "-c", *words] if kind == "CMD-SHELL" else words
        return subprocess.run(
            argv,
            env=self.env,
            cwd=self._cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=30,
            check=False,
        )

    def tell_to_end(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        """Its exit code, within its grace period."""
        assert self.process is not None
        return self.process.wait(compose_file.seconds(self.service["stop_grace_period"]))

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def words(self) -> str:
        return self.log.read_text(errors="replace")[-2_000:]

    @property
    def _cwd(self) -> Path:
        """Empty, so that nothing is found which no image has."""
        place = self.directory / "cwd"
        place.mkdir(exist_ok=True)
        return place


@dataclass(slots=True, kw_only=True)
class Stack:
    replicas: dict[str, list[Replica]]

    def all(self) -> list[Replica]:
        return list(itertools.chain(*self.replicas.values()))

    def published(self, port: str) -> str:
        """Where that port of the host would be."""
        return next(f"127.0.0.1:{each.published[port]}" for each in self.all() if port in each.published)

    def up(self) -> None:
        """Everybody, once those are healthy on whom he depends."""
        waiting = dict(self.replicas)
        while waiting:
            name = next(name for name, (first, *_) in waiting.items() if not _depends(first.service) & waiting.keys())
            for replica in waiting.pop(name):
                for needed in _depends(replica.service):
                    for each in self.replicas[needed]:
                        each.wait_healthy()
                replica.start()

    def down(self) -> dict[str, int]:
        """As Compose stops: all on whom nobody depends at once, then the next. Exit codes."""
        codes, left = {}, dict(self.replicas)
        while left:
            needed = set[str]().union(*(_depends(first.service) for first, *_ in left.values()))
            wave = [each for name in left.keys() - needed for each in left.pop(name)]
            for each in wave:
                each.tell_to_end()
            codes |= {each.name: each.ended() for each in wave}
        return codes


def _depends(service: Mapping[str, Any]) -> set[str]:
    said = service.get("depends_on", {})
    assert all(each == {"condition": "service_healthy"} for each in said.values()), said
    return set(said)


@contextmanager
def stack(
    document: Mapping[str, Any], profiles: set[str], stages: Mapping[str, Stage], directory: Path
) -> Iterator[Stack]:
    """All replicas, ready to start; none is left running."""
    services = compose_file.active(document, profiles)
    made = {name: [*_replicas(name, service, directory)] for name, service in services.items()}
    built = Stack(replicas=made)
    for replica in built.all():
        _translate(replica, built, document, stages)
    try:
        yield built
    finally:
        for replica in built.all():
            replica.kill()


def _replicas(name: str, service: Mapping[str, Any], directory: Path) -> Iterator[Replica]:
    published = [text.rsplit(":", 2)[-2:] for text in service.get("ports", [])]
    inside = [target for _, target in published] + list(service.get("expose", []))
    for number in range(1, service.get("deploy", {}).get("replicas", 1) + 1):
        place = directory / f"{name}-{number}"
        place.mkdir(parents=True)
        ports = {port: free_port() for port in inside}
        yield Replica(
            name=place.name,
            service=service,
            ports=ports,
            published={host: ports[target] for host, target in published},
            directory=place,
        )


def _translate(replica: Replica, built: Stack, document: Mapping[str, Any], stages: Mapping[str, Stage]) -> None:
    """Fills in argv, environment and health check, and writes the configs."""
    service = dict(replica.service)
    stage = stages[service["build"]["target"]] if "build" in service else None
    here = _Here(replica=replica, addresses=_addresses(replica, built), mounts=_mounts(replica))
    for config in service.get("configs", []):
        source = ROOT / document["configs"][config["source"]]["file"]
        Path(here.mounts[config["target"]]).write_text(here.translated(source.read_text()))
    entrypoint = stage.entrypoint if stage else []
    replica.argv = [here.translated(word) for word in [*entrypoint, *service["command"]]]
    image = {name: value for name, value in (stage.environment if stage else {}).items() if name != "PATH"}
    said = {name: here.translated(value) for name, value in service.get("environment", {}).items()}
    replica.env = image | said | {"PATH": f"{BIN}:{os.environ['PATH']}", "TMPDIR": here.mounts["/tmp"]}  # noqa: S108
    check = service["healthcheck"]
    replica.service = service | {"healthcheck": check | {"test": [here.translated(word) for word in check["test"]]}}


def _mounts(replica: Replica) -> dict[str, str]:
    """Where each mounted path is here. A name before the colon is shared by all who mount it."""
    found = {}
    for text in (*replica.service.get("volumes", []), *replica.service["tmpfs"]):
        place = replica.directory / text.rpartition(":")[2].strip("/").replace("/", "_")
        place.mkdir()
        found[text.rpartition(":")[2]] = str(place)
    for config in replica.service.get("configs", []):
        found[config["target"]] = str(replica.directory / config["target"].strip("/").replace("/", "_"))
    return found


def _addresses(replica: Replica, built: Stack) -> dict[str, int]:
    """What `NAME:PORT` and `localhost:PORT` mean for this replica. Replicas behind one name take turns."""
    mine = compose_file.networks(replica.service)
    named: dict[str, list[int]] = {}
    for name, others in built.replicas.items():
        for other in others:
            theirs = compose_file.networks(other.service)
            aliases = {alias for network in mine.keys() & theirs.keys() for alias in (name, *theirs[network])}
            for alias, (inside, here) in itertools.product(aliases, other.ports.items()):
                named.setdefault(f"{alias}:{inside}", []).append(here)
            for host, here in other.published.items():
                named[f"localhost:{host}"] = [here]
    turn = int(replica.name.rpartition("-")[2]) - 1
    return {name: ports[turn % len(ports)] for name, ports in named.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Here:
    replica: Replica
    addresses: Mapping[str, int]
    mounts: Mapping[str, str]

    def translated(self, text: str) -> str:
        for name, port in self.addresses.items():
            text = re.sub(rf"(?<![\w.-]){re.escape(name)}\b", f"127.0.0.1:{port}", text)
        for inside, port in self.replica.ports.items():
            text = re.sub(rf"(?<![\w.]){inside}(?![\w.])", str(port), text)
        text = text.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        for theirs, ours in PROGRAMS.items():
            text = re.sub(rf"\b{theirs}\b", ours, text)
        targets = "|".join(map(re.escape, self.mounts))  # at once: what was put in may hold the next one's name
        return re.sub(rf"(?<![\w.:/])({targets})(?![\w.-])", lambda found: self.mounts[found[1]], text)
