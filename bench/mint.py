"""`POST /upload-sessions`: the broker against the same route written the usual way (`bench/peers/fastapi_mint.py`).

python bench/mint.py [--check]

Each side is one process on core 0; wrk with 32 connections, and the Redis that both write to, are on core 1. Both sign
a PUT with the same headers for the same bucket, which is proved before anything is timed, and both record the session
before they answer. The looker is another process in both worlds (`serve --no-look`): the route is what is measured.
Afterwards the broker alone is asked at half its peak, at a fixed rate: a latency counts from the moment at which the
request was due, so a server that stalls cannot hide what it kept waiting (G. Tene, "coordinated omission").
"""

import hashlib
import json
import socket
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._harness import Series, print_conditions, print_table, report, take_turns, wants_check
from broker.dev.children import Child
from broker.domain.errors import ConfigurationInvalid
from broker.domain.principals import new_key_text

try:
    import boto3  # noqa: F401 - the peer needs it
    import fastapi  # noqa: F401 - the peer is one
    import psutil  # type: ignore[import-untyped]
    import uvloop

    from bench._broker import (
        ACCESS_KEY,
        BUCKET,
        ENDPOINT,
        LOAD_CORE,
        REGION,
        SECRET_KEY,
        SERVER_CORE,
        cpu_seconds,
        environment,
        on_core,
        process_of,
        require_tools,
        start_broker,
        start_ledger,
        version_of,
        wrk,
        wrk_script,
    )
    from bench._paced import pace
except ImportError as missing:
    sys.exit(f"bench/mint.py measures a peer that cannot run here ({missing}): make install-dev")

BAR = 3.0
P99_BAR_MS = 10.0
TURNS = 5
TURN_SECONDS = 4
PACED_RUNS = 3
PACED_ATTEMPTS = 8
CONNECTIONS = 32
READY_SECONDS = 20.0
LAG_LIMIT_MS = 3.0  # a generator that is later than this one time in a hundred measures itself

PEER_OPTIONS = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")

BODY = json.dumps(
    {
        "filename": "quarterly report.csv",
        "size_bytes": 10_485_760,
        "content_type": "text/csv",
        "metadata": {"case": "17", "origin": "bench"},
        "owner": "user-17",
        "batch": "2026-11-20",
    }
)
BOUND = {"content-length", "content-type", "host", "if-none-match", "x-amz-meta-upload-session"}


@dataclass(slots=True, kw_only=True)
class Side:
    """One server under load. `cpu_us` is its own CPU time a request, one figure a turn: neighbours do not move it."""

    name: str
    port: int
    process: psutil.Process
    script: Path
    cpu_us: list[float] = field(default_factory=list)

    def requests_per_second(self) -> float:
        before, url = cpu_seconds(self.process), f"http://127.0.0.1:{self.port}/upload-sessions"
        requests, rate = wrk(url, self.script, connections=CONNECTIONS, seconds=TURN_SECONDS)
        self.cpu_us.append((cpu_seconds(self.process) - before) / requests * 1e6)
        return rate


def main() -> None:
    is_check = wants_check("POST /upload-sessions: the broker against FastAPI, boto3 and redis-py")
    require_tools("bench/mint.py")
    key = new_key_text("bench")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-mint-")))
        try:
            ours, peer = _start_both(stack, directory, key)
        except ConfigurationInvalid as missing:
            sys.exit(missing.detail)
        _require_same_binding(ours, peer, key)
        our_series, peer_series = take_turns(
            {"broker": ours.requests_per_second, "FastAPI + boto3 + redis-py": peer.requests_per_second}, turns=TURNS
        )
        _print(ours, peer, our_series, peer_series)
        p99_ms = _paced_p99(ours.port, _http_request(key), rate=our_series.median / 2)
    measured = f"{p99_ms:.2f} ms" if p99_ms is not None else "not measured, the generator could not keep its rate"
    print(f"p99 of the broker at half its peak: {measured} (bar {P99_BAR_MS:.0f} ms)")
    report("mint", ratio=our_series.median / peer_series.median, bar=BAR, is_check=is_check)
    if is_check and (p99_ms is None or p99_ms > P99_BAR_MS):
        sys.exit(1)


# --- both sides ------------------------------------------------------------------------------------------


def _start_both(stack: ExitStack, directory: Path, key: str) -> tuple[Side, Side]:
    server = start_ledger(stack, directory)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    script = wrk_script(directory, "mint", BODY, headers)
    broker_port, broker = start_broker(stack, directory, server.url, key)
    port = _free_port()
    peer = Child(
        name="peer",
        argv=[sys.executable, "-m", "uvicorn", "bench.peers.fastapi_mint:app", "--port", str(port), *PEER_OPTIONS],
        env=environment(**_peer_settings(server.url.removesuffix("/0") + "/1", key)),
        directory=directory,
        is_announced=False,
    )
    with on_core(SERVER_CORE):
        stack.callback(peer.stop)
        peer.start()
    _wait_for(port, peer)
    return (
        Side(name="broker", port=broker_port, process=broker, script=script),
        Side(name="peer", port=port, process=process_of(peer), script=script),
    )


def _peer_settings(redis_url: str, key: str) -> dict[str, str]:
    return {
        "PEER_BUCKET": BUCKET,
        "PEER_REGION": REGION,
        "PEER_ENDPOINT": ENDPOINT,
        "PEER_ACCESS_KEY": ACCESS_KEY,
        "PEER_SECRET_KEY": SECRET_KEY,
        "PEER_REDIS_URL": redis_url,
        "PEER_KEY_SHA256": hashlib.sha256(key.encode()).hexdigest(),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, child: Child) -> None:
    end = time.monotonic() + READY_SECONDS
    while child.is_alive and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    sys.exit(f"the {child.name} did not start; its last words:\n{child.last_words()}")


def _require_same_binding(ours: Side, peer: Side, key: str) -> None:
    """End the bench unless both answer 201 with a PUT that is signed for the same place and the same headers."""
    for side in (ours, peer):
        answer = _post(side.port, key)
        put = answer["upload"]["request"]
        url = urlsplit(put["url"])
        bound = set(parse_qs(url.query)["X-Amz-SignedHeaders"][0].split(";"))
        place = f"{url.scheme}://{url.netloc}/{url.path.split('/')[1]}"
        if bound != BOUND or put["method"] != "PUT" or place != f"{ENDPOINT}/{BUCKET}":
            sys.exit(f"the {side.name} does not sign what the other signs: {put['method']} {place}, {sorted(bound)}")


def _post(port: int, key: str) -> dict[str, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/upload-sessions", data=BODY.encode(), method="POST")
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - loopback
            if response.status != 201:
                sys.exit(f"POST /upload-sessions answered {response.status} instead of 201")
            return cast("dict[str, Any]", json.load(response))
    except urllib.error.HTTPError as refused:
        sys.exit(f"POST /upload-sessions answered {refused.code}: {refused.read().decode(errors='replace')}")


# --- at full speed ---------------------------------------------------------------------------------------


def _print(ours: Side, peer: Side, our_series: Series, peer_series: Series) -> None:
    print_table("POST /upload-sessions, 32 connections", [our_series, peer_series], unit="requests/s")
    cpu = [
        Series(name=series.name, values=side.cpu_us[1:]) for side, series in ((ours, our_series), (peer, peer_series))
    ]
    print_table("CPU time of the server process", cpu, unit="µs a request")
    print_conditions(
        *("litestar", "msgspec", "fastapi", "pydantic", "boto3", "redis", "uvicorn", "uvloop"),
        redis_server=version_of("redis-server"),
        wrk=version_of("wrk"),
        durability="appendfsync everysec, no rewrite during turns",
        pinning=f"each server on core {SERVER_CORE}; wrk and Redis on core {LOAD_CORE}",
    )


# --- at a fixed rate -------------------------------------------------------------------------------------


def _http_request(key: str) -> bytes:
    head = f"POST /upload-sessions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}".encode()


def _paced_p99(port: int, request: bytes, *, rate: float) -> float | None:
    """The median of some runs, in ms; the first warms up, and one in which the generator was late says nothing.

    None: all were late, which is what a busy machine does.
    """
    values: list[float] = []
    for run in range(1 + PACED_ATTEMPTS):
        paced = uvloop.run(pace(port, request, rate=rate, seconds=TURN_SECONDS, connections=CONNECTIONS))
        if not run:
            continue
        is_late = paced.lag_ms > LAG_LIMIT_MS
        print(f"{rate:,.0f} requests/s: {paced}{': not counted' if is_late else ''}")
        if not is_late:
            values.append(paced.p99_ms)
        if len(values) == PACED_RUNS:
            return statistics.median(values)
    return None


if __name__ == "__main__":
    main()
