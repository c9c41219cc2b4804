"""From the bucket's event to a job: the broker against a worker of 16 threads (`bench/peers/boto3_events.py`).

python bench/events.py [--check]; `EVENTS=300 TURNS=3` makes it shorter.

Ours is `upload-broker serve` as it stands: each event comes as a notification of its own through the real door, is a
hint in Redis, is looked at by one HEAD at the emulator, judged, and settled with its job in one step. The peer is given
its hints in a list, ten at a time and without a door, and does the same with boto3 and redis-py; what ours costs with
ten events a notification is told beside. Each side is one process on core 0; emulator, Redis and the load are on core
1. The ratio is that of sessions settled by a second of CPU of the process, so that neither store nor load is measured.

Then the broker alone at a fixed rate: from the moment at which the event was due at the door until its job is visible,
as Redis' own clock has it in the stream, whose milliseconds are rounded down: one is added.
"""

import asyncio
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote_plus

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._harness import Series, print_conditions, print_table, report, take_turns, wants_check
from broker.dev.children import Child
from broker.domain.errors import ConfigurationInvalid
from broker.domain.principals import new_key_text

try:
    import aiohttp
    import boto3  # noqa: F401 - the peer needs it
    import redis
    import uvloop
    import yarl

    from bench._broker import (
        ACCESS_KEY,
        BUCKET,
        LOAD_CORE,
        REGION,
        SECRET_KEY,
        SERVER_CORE,
        environment,
        on_core,
        require_tools,
        start_ledger,
        version_of,
    )
    from bench._paced import Paced, pace_each, percentile
except ImportError as missing:
    sys.exit(f"bench/events.py measures a peer that cannot run here ({missing}): make install-dev")

EVENTS = int(os.environ.get("EVENTS", "1000"))  # a turn
TURNS = int(os.environ.get("TURNS", "5"))
BAR = 3.0
P99_BAR_MS = 100.0
RATE = 500.0
PACED_SECONDS = int(os.environ.get("PACED_SECONDS", "10"))
PACED_RUNS = 3
PACED_ATTEMPTS = 8
LAG_LIMIT_MS = 5.0  # a generator that is later than this one time in a hundred measures itself
CONNECTIONS = 16
PATIENT_SECONDS = 60.0
POLL_SECONDS = 0.002
TOKEN = "the-bucket-says-so"  # noqa: S105 - a test's
BODY = b"x" * 1024
WISH = {"filename": "quarterly report.csv", "size_bytes": len(BODY), "content_type": "text/csv"}

Minted = dict[str, Any]


class Way(Protocol):
    """How one side is told, and where it says what it has settled."""

    def prepare(self, minted: Sequence[Minted]) -> None: ...

    def tell(self, minted: Sequence[Minted]) -> None: ...

    def jobs(self) -> int: ...


@dataclass(slots=True, kw_only=True)
class Side:
    """One process that settles. `wall` is sessions a second, one figure a turn, as the turn itself gives it by CPU."""

    process: Child
    way: Way
    store: "Store"
    wall: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def sessions_per_cpu_second(self) -> float:
        minted = self.store.some(EVENTS)
        self.way.prepare(minted)
        before, cpu, begun = self.way.jobs(), cpu_seconds(self.process), time.perf_counter()
        self.way.tell(minted)
        wait_for(lambda: self.way.jobs() - before, EVENTS)
        self.wall.append(EVENTS / (time.perf_counter() - begun))
        self.cpu_us.append((cpu_seconds(self.process) - cpu) / EVENTS * 1e6)
        return 1e6 / self.cpu_us[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Sessions that the broker minted, whose bytes have arrived: nobody was told of them yet."""

    port: int
    key: str

    def some(self, count: int) -> list[Minted]:
        return uvloop.run(self._uploaded(count))

    async def _uploaded(self, count: int) -> list[Minted]:
        places = asyncio.Semaphore(16)
        async with aiohttp.ClientSession() as http:
            minted = [await self._minted(http, min(1_000, count - start)) for start in range(0, count, 1_000)]
            sessions = [session for batch in minted for session in batch]
            await asyncio.gather(*(_put(http, places, session) for session in sessions))
        return sessions

    async def _minted(self, http: aiohttp.ClientSession, count: int) -> list[Minted]:
        url, headers = f"http://127.0.0.1:{self.port}/upload-sessions/batch", {"authorization": f"Bearer {self.key}"}
        async with http.post(url, json={"sessions": [WISH] * count}, headers=headers) as answer:
            return [item["session"] for item in (await answer.json())["sessions"]]


async def _put(http: aiohttp.ClientSession, places: asyncio.Semaphore, session: Minted) -> None:
    signed = session["upload"]["request"]
    url = yarl.URL(signed["url"], encoded=True)  # not to be spelled anew: it is signed
    async with places, http.put(url, data=BODY, headers=signed["headers"]) as answer:
        if answer.status != 200:
            sys.exit(f"the store answered {answer.status}: {await answer.text()}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OurWay:
    """Through the door, so many events a notification."""

    port: int
    ledger: redis.Redis
    at_once: int

    def prepare(self, minted: Sequence[Minted]) -> None:
        """They are in the ledger."""

    def tell(self, minted: Sequence[Minted]) -> None:
        self.pace(minted, rate=1e9)

    def pace(self, minted: Sequence[Minted], *, rate: float) -> Paced:
        requests = [_notification(minted[at : at + self.at_once]) for at in range(0, len(minted), self.at_once)]
        told = pace_each(self.port, requests, len(requests), rate=rate, connections=CONNECTIONS, status=200)
        return uvloop.run(told)

    def jobs(self) -> int:
        return int(self.ledger.zcard("jobs:{00}:default"))


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerWay:
    """Through a list; what our ledger keeps as a record is a hash here."""

    ledger: redis.Redis

    def prepare(self, minted: Sequence[Minted]) -> None:
        with self.ledger.pipeline(transaction=False) as pipeline:
            for session in minted:
                headers = session["upload"]["request"]["headers"]
                said = {"state": "pending", "size": len(BODY), "type": WISH["content_type"]}
                pipeline.hset(
                    f"session:{session['id']}", mapping=said | {"capsule": headers["x-amz-meta-upload-session"]}
                )
                pipeline.zadd("due", {session["id"]: time.time() + 3_600})
            pipeline.execute()

    def tell(self, minted: Sequence[Minted]) -> None:
        self.ledger.rpush("hints", *(_events([session]) for session in minted))

    def jobs(self) -> int:
        return int(self.ledger.zcard("jobs"))


def main() -> None:
    is_check = wants_check("events to jobs: the broker against 16 threads of boto3 and redis-py")
    require_tools("bench/events.py")
    key = new_key_text("bench")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-events-")))
        try:
            ours, many, peer = _start_all(stack, directory, key)
        except ConfigurationInvalid as missing:
            sys.exit(missing.detail)
        names = {"broker": ours, "broker, ten a notification": many, "boto3 + redis-py, 16 threads": peer}
        series = take_turns({name: side.sessions_per_cpu_second for name, side in names.items()}, turns=TURNS)
        _print(names, series)
        p99_ms = _paced_p99(ours)
    print(f"RESULT events-p99 ms={'unmeasured' if p99_ms is None else f'{p99_ms:.2f}'} bar={P99_BAR_MS:.2f}")
    report("events", ratio=series[0].median / series[2].median, bar=BAR, is_check=is_check)
    if is_check and (p99_ms is None or p99_ms > P99_BAR_MS):
        sys.exit(1)


# --- both sides ------------------------------------------------------------------------------------------


def _start_all(stack: ExitStack, directory: Path, key: str) -> tuple[Side, Side, Side]:
    server = start_ledger(stack, directory)
    endpoint = _start_store(stack, directory)
    config = _config(directory, server.url, endpoint, key)
    argv = ["-m", "broker", "serve", "--no-relay", "--json", "--config", str(config), "--port", "0"]
    env = environment(BENCH_CAPSULE_KEY="c" * 48, BENCH_SECRET_KEY=SECRET_KEY, BENCH_EVENT_TOKEN=TOKEN)
    broker, announced = _started(stack, directory, "broker", argv, env)
    port = int(announced["broker"].rpartition(":")[2])
    peer_url = server.url.removesuffix("/0") + "/1"
    env = environment(
        PEER_REGION=REGION,
        PEER_ENDPOINT=endpoint,
        PEER_ACCESS_KEY=ACCESS_KEY,
        PEER_SECRET_KEY=SECRET_KEY,
        PEER_REDIS_URL=peer_url,
    )
    peer, _ = _started(stack, directory, "peer", ["-m", "bench.peers.boto3_events"], env)
    ledgers = [stack.enter_context(redis.Redis.from_url(url)) for url in (server.url, peer_url)]
    store = Store(port=port, key=key)
    return (
        Side(process=broker, way=OurWay(port=port, ledger=ledgers[0], at_once=1), store=store),
        Side(process=broker, way=OurWay(port=port, ledger=ledgers[0], at_once=10), store=store),
        Side(process=peer, way=PeerWay(ledger=ledgers[1]), store=store),
    )


def _start_store(stack: ExitStack, directory: Path) -> str:
    """On the core of this process. It tells nobody."""
    (directory / "objects").mkdir()
    argv = ["-m", "emulators", "s3", "--listen", "127.0.0.1:0", "--data", str(directory / "objects"), "--json"]
    argv += ["--account", f"bench:{ACCESS_KEY}:{SECRET_KEY}", "--bucket", BUCKET, "--region", REGION]
    store = Child(name="store", argv=[sys.executable, *argv], env=environment(), directory=directory)
    stack.callback(store.stop)
    return str(store.start()["endpoint"])


def _started(
    stack: ExitStack, directory: Path, name: str, argv: Sequence[str], env: Mapping[str, str]
) -> tuple[Child, dict[str, Any]]:
    child = Child(name=name, argv=[sys.executable, *argv], env=env, directory=directory)
    with on_core(SERVER_CORE):
        stack.callback(child.stop)
        return child, child.start()


def _config(directory: Path, redis_url: str, endpoint: str, key: str) -> Path:
    """Nobody looks before he was told: the first look by itself is far off."""
    path = directory / "broker.toml"
    path.write_text(f"""\
ledger = {{url = "{redis_url}", durability = "everysec"}}
server = {{log_level = "warning"}}
secrets = {{capsule_keys = [{{env = "BENCH_CAPSULE_KEY"}}]}}

[destinations.default]
provider = "s3"
dialect = "aws"
bucket = "{BUCKET}"
region = "{REGION}"
endpoint = "{endpoint}"
addressing = "path"
policy = {{first_look = "1h"}}

[destinations.default.credentials.default]
access_key_id = "{ACCESS_KEY}"
secret_access_key = {{env = "BENCH_SECRET_KEY"}}

[sources.bucket]
kind = "s3_event"
tokens = [{{env = "BENCH_EVENT_TOKEN"}}]
destinations = ["default"]

[keys.bench]
hash = "{hashlib.sha256(key.encode()).hexdigest()}"
roles = ["mint"]
""")
    return path


# --- events ----------------------------------------------------------------------------------------------


def _events(sessions: Sequence[Minted]) -> bytes:
    return json.dumps({"Records": [_event(session) for session in sessions]}).encode()


def _event(session: Minted) -> dict[str, Any]:
    """As S3 spells it ("Event message structure", Amazon S3 User Guide)."""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": REGION,
        "eventTime": "2026-11-21T03:00:00.000Z",
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": "AWS:AIDAJDPLRKLG7UEXAMPLE"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "uploads",
            "bucket": {
                "name": BUCKET,
                "ownerIdentity": {"principalId": "A3NL1KOZZKExample"},
                "arn": f"arn:aws:s3:::{BUCKET}",
            },
            "object": {
                "key": quote_plus(session["object"]["key"], safe="/"),
                "size": len(BODY),
                "eTag": hashlib.md5(BODY, usedforsecurity=False).hexdigest(),
                "sequencer": "0055AED6DCD90281E5",
            },
        },
    }


def _notification(sessions: Sequence[Minted]) -> bytes:
    body = _events(sessions)
    head = f"POST /notifications/bucket HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {TOKEN}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def wait_for(count: Any, wanted: int) -> None:
    end = time.monotonic() + PATIENT_SECONDS
    while (found := count()) < wanted:
        if time.monotonic() > end:
            sys.exit(f"only {found} of {wanted} sessions were settled")
        time.sleep(POLL_SECONDS)


def cpu_seconds(child: Child) -> float:
    """Of all its threads, to the nanosecond."""
    assert child.process is not None  # noqa: S101 - for the type checker
    threads = Path(f"/proc/{child.process.pid}/task").glob("*/schedstat")  # Documentation/scheduler/sched-stats.rst
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def _print(sides: Mapping[str, Side], series: Sequence[Series]) -> None:
    def other(values: str) -> list[Series]:
        return [Series(name=name, values=getattr(side, values)[1:]) for name, side in sides.items()]

    print_table("sessions settled by a second of CPU of the process", series, unit="sessions/s")
    print_table("CPU time of the process", other("cpu_us"), unit="µs a session")
    print_table("by the clock, with everything else on the other core", other("wall"), unit="sessions/s")
    print_conditions(
        *("litestar", "msgspec", "aiohttp", "boto3", "redis", "uvloop"),
        redis_server=version_of("redis-server"),
        durability="appendfsync everysec",
        pinning=f"broker and peer on core {SERVER_CORE}; emulator, Redis and load on core {LOAD_CORE}",
        load=f"{EVENTS:,} events a turn",
    )


# --- at a fixed rate -------------------------------------------------------------------------------------


def _paced_p99(ours: Side) -> float | None:
    """The median of some runs, in ms; the first warms up, and one in which the generator was late says nothing."""
    way, values = ours.way, list[float]()
    assert isinstance(way, OurWay)  # noqa: S101 - for the type checker
    for run in range(1 + PACED_ATTEMPTS):
        minted = ours.store.some(int(RATE * PACED_SECONDS))
        paced = way.pace(minted, rate=RATE)
        latencies = _until_leasable(way.ledger, minted, paced.began_at)
        if not run:
            continue
        is_late = paced.lag_ms > LAG_LIMIT_MS
        told = f"p50 {percentile(latencies, 50):.1f} ms, p99 {percentile(latencies, 99):.1f} ms"
        told += f", worst {max(latencies) * 1e3:.1f} ms; the door alone: {paced}"
        print(f"{RATE:.0f} events/s to jobs: {told}{': not counted' if is_late else ''}")
        if not is_late:
            values.append(percentile(latencies, 99))
        if len(values) == PACED_RUNS:
            return statistics.median(values)
    return None


def _until_leasable(ledger: redis.Redis, minted: Sequence[Minted], began_at: float) -> list[float]:
    """Seconds, for each event."""
    due_at = {session["id"]: began_at + place / RATE for place, session in enumerate(minted)}
    found: dict[str, float] = {}

    def read() -> int:
        for cursor, event in ledger.xrange("events:{00}", min=int(began_at * 1e3)):
            if event[b"state"] == b"verified":
                found[event[b"id"].decode()] = (int(cursor.partition(b"-")[0]) + 1) / 1e3
        return len(due_at.keys() & found.keys())

    time.sleep(0.2)
    wait_for(read, len(minted))
    return [found[session_id] - at for session_id, at in due_at.items()]


if __name__ == "__main__":
    main()
