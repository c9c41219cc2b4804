"""`POST /upload-sessions/batch` against the same sessions minted by single calls, and what single callers notice of it.

python bench/batch.py [--check]

One broker on core 0, asked in turns: 32 connections with one session a call, 2 connections with a thousand. Redis,
which records all of them, and the load are on core 1. How many sessions there really are is asked of the ledger after
each turn. A second figure is what one session costs the broker's own CPU, so it says what a core can do whatever the
neighbours do. The third is how long single calls take, at a fixed rate and counted from when they were due, while
batches run at full speed.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._harness import Series, print_conditions, print_table, report, take_turns, wants_check
from broker.domain.errors import ConfigurationInvalid
from broker.domain.principals import new_key_text

try:
    import psutil  # type: ignore[import-untyped]
    import redis
    import uvloop

    from bench._broker import (
        LOAD_CORE,
        SERVER_CORE,
        cpu_seconds,
        require_tools,
        start_broker,
        start_ledger,
        version_of,
        wrk,
        wrk_script,
    )
    from bench._paced import Paced, pace
except ImportError as missing:
    sys.exit(f"bench/batch.py cannot run here ({missing}): make install-dev")

BAR = 3.0
CORE_BAR = 15_000  # sessions a second and core
P99_BAR_MS = 20.0
ITEMS = 1_000
TURNS = 5
TURN_SECONDS = 4
IDLE_SECONDS = 0.03  # of CPU in 0.3 s: less than a batch takes
PACED_SECONDS = 4
PACED_RATE = 100.0
PACED_RUNS = 3
PACED_ATTEMPTS = 8
LAG_LIMIT_MS = 5.0  # a generator that is later than this one time in a hundred measures itself
SESSION = {
    "filename": "quarterly report.csv",
    "size_bytes": 10_485_760,
    "content_type": "text/csv",
    "metadata": {"case": "17", "origin": "bench"},
    "owner": "user-17",
    "batch": "2026-11-20",
}


@dataclass(slots=True, kw_only=True)
class Side:
    """One way to mint. `cpu_us` is the broker's own CPU time a session, one figure a turn."""

    url: str
    script: Path
    connections: int
    items: int
    process: psutil.Process
    ledger: redis.Redis
    cpu_us: list[float] = field(default_factory=list)

    def sessions_per_second(self) -> float:
        self.ledger.flushall()
        before = cpu_seconds(self.process)
        requests, rate = wrk(self.url, self.script, connections=self.connections, seconds=TURN_SECONDS)
        minted = self.settled()
        cpu = cpu_seconds(self.process) - before
        if not requests * self.items <= minted <= (requests + self.connections) * self.items:
            sys.exit(f"{requests} calls of {self.items} made {minted} sessions")
        self.cpu_us.append(cpu / minted * 1e6)
        return rate * self.items

    def settled(self) -> int:
        """How many sessions there are, once those are recorded whose callers have hung up."""
        before = 0.0
        while (now := cpu_seconds(self.process)) - before > IDLE_SECONDS:
            before = now
            time.sleep(0.3)
        return self.minted()

    def minted(self) -> int:
        return int(self.ledger.hget("usage:{00}:bench", "sessions") or 0)


def main() -> None:
    is_check = wants_check("POST /upload-sessions/batch against single calls")
    require_tools("bench/batch.py")
    key = new_key_text("bench")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-batch-")))
        try:
            server = start_ledger(stack, directory)
            port, process = start_broker(stack, directory, server.url, key)
        except ConfigurationInvalid as missing:
            sys.exit(missing.detail)
        ledger = stack.enter_context(redis.Redis.from_url(server.url))
        single, batch = _sides(port, process, ledger, directory, key)
        _require_whole_answers(port, key)
        one, many = take_turns(
            {"one a call": single.sessions_per_second, f"{ITEMS:,} a call": batch.sessions_per_second}, turns=TURNS
        )
        per_core = _print(single, batch, one, many)
        p99_ms = _paced_p99(port, batch, _http_request(key))
    print(f"RESULT batch-per-core sessions={per_core:.0f} bar={CORE_BAR}")
    print(f"RESULT batch-single-p99 ms={'unmeasured' if p99_ms is None else f'{p99_ms:.2f}'} bar={P99_BAR_MS:.2f}")
    report("batch", ratio=many.median / one.median, bar=BAR, is_check=is_check)
    if is_check and (per_core < CORE_BAR or p99_ms is None or p99_ms > P99_BAR_MS):
        sys.exit(1)


def _sides(port: int, process: psutil.Process, ledger: redis.Redis, directory: Path, key: str) -> tuple[Side, Side]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    url = f"http://127.0.0.1:{port}/upload-sessions"
    single = wrk_script(directory, "single", json.dumps(SESSION), headers)
    batch = wrk_script(directory, "batch", _batch_body(), headers)
    return (
        Side(url=url, script=single, connections=32, items=1, process=process, ledger=ledger),
        Side(url=f"{url}/batch", script=batch, connections=2, items=ITEMS, process=process, ledger=ledger),
    )


def _batch_body() -> str:
    sessions = [{**SESSION, "filename": f"quarterly report {number}.csv"} for number in range(ITEMS)]
    return json.dumps({"sessions": sessions})


def _require_whole_answers(port: int, key: str) -> None:
    """End the bench unless a batch is a thousand sessions, each with a PUT of its own."""
    url = f"http://127.0.0.1:{port}/upload-sessions/batch"
    request = urllib.request.Request(url, data=_batch_body().encode(), method="POST")
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - loopback
        answers: list[dict[str, Any]] = json.load(response)["sessions"]
    urls = {answer["session"]["upload"]["request"]["url"] for answer in answers}
    if len(urls) != ITEMS or not all("X-Amz-Signature=" in url for url in urls):
        sys.exit(f"a batch of {ITEMS} was answered with {len(urls)} signed requests")


def _print(single: Side, batch: Side, one: Series, many: Series) -> float:
    """How many sessions of batches one core mints a second."""
    print_table("sessions minted", [one, many], unit="sessions/s")
    # The turn to warm up is not counted.
    cpu = [Series(name=series.name, values=side.cpu_us[1:]) for side, series in ((single, one), (batch, many))]
    print_table("CPU time of the broker", cpu, unit="µs a session")
    print_conditions(
        *("litestar", "msgspec", "uvicorn", "uvloop"),
        redis_server=version_of("redis-server"),
        wrk=version_of("wrk"),
        durability="appendfsync everysec, no rewrite during turns",
        pinning=f"broker on core {SERVER_CORE}; wrk and Redis on core {LOAD_CORE}",
    )
    return 1e6 / cpu[1].median


# --- single calls while batches run ----------------------------------------------------------------------


def _http_request(key: str) -> bytes:
    body = json.dumps(SESSION)
    head = f"POST /upload-sessions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def _paced_p99(port: int, batch: Side, request: bytes) -> float | None:
    """The median of some runs, in ms; the first warms up, and one in which the generator was late says nothing.

    None: all were late, which is what a busy machine does.
    """
    values: list[float] = []
    for run in range(1 + PACED_ATTEMPTS):
        batch.ledger.flushall()
        with _batches(batch):
            paced: Paced = uvloop.run(_calls(port, request))
        if not run:
            continue
        minted = batch.settled()
        is_late = paced.lag_ms > LAG_LIMIT_MS
        print(
            f"{PACED_RATE:,.0f} single calls/s beside {minted:,} sessions in batches: {paced}"
            f"{': not counted' if is_late else ''}"
        )
        if not is_late:
            values.append(paced.p99_ms)
        if len(values) == PACED_RUNS:
            return sorted(values)[PACED_RUNS // 2]
    return None


async def _calls(port: int, request: bytes) -> Paced:
    await asyncio.sleep(0.5)  # until the batches are at full speed
    return await pace(port, request, rate=PACED_RATE, seconds=PACED_SECONDS, connections=16)


@contextmanager
def _batches(side: Side) -> Iterator[None]:
    """At full speed until the end of the block."""
    argv = ["wrk", "-t1", f"-c{side.connections}", "-d60s", "--timeout", "10s", "-s", str(side.script), side.url]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            yield
            if running.poll() is not None:
                sys.exit("the batches ended before the single calls did")
        finally:
            running.kill()


if __name__ == "__main__":
    main()
