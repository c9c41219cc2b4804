"""Load at a fixed rate: requests are sent when they are due, not when the last answer has come.

A latency counts from the moment at which the request was due, so a server that stalls cannot hide what it kept waiting
(G. Tene, "coordinated omission"). The generator says how late it was itself, and a bench must look at that figure.
"""

import asyncio
import gc
import statistics
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle
from typing import cast

DRAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Paced:
    """One run at a fixed rate. `lag_ms` is how late the generator itself was, at its own 99th percentile.

    `began_at` is the unix time at which the first request was due; the others followed at the rate.
    """

    p50_ms: float
    p99_ms: float
    worst_ms: float
    lag_ms: float
    began_at: float

    def __str__(self) -> str:
        return (
            f"p50 {self.p50_ms:.2f} ms, p99 {self.p99_ms:.2f} ms, worst {self.worst_ms:.2f} ms "
            f"(of which the generator, p99: {self.lag_ms:.2f} ms)"
        )


class _Load:
    """Requests that are due, connections that are free, and how long each request took since it was due."""

    def __init__(self, requests: Iterable[bytes], expected: int, status: int) -> None:
        self.status_line = f"HTTP/1.1 {status} ".encode()
        self._requests = iter(requests)
        self.latencies: list[float] = []
        self.failure: str | None = None
        self.done = asyncio.Event()
        self._expected = expected
        self._due: deque[float] = deque()
        self._free: deque[_Connection] = deque()

    def add(self, due_at: float) -> None:
        self._due.append(due_at)
        self._send()

    def release(self, connection: "_Connection", due_at: float | None = None) -> None:
        if due_at is not None:
            self.latencies.append(time.perf_counter() - due_at)
        self._free.append(connection)
        self._send()
        if len(self.latencies) == self._expected:
            self.done.set()

    def fail(self, reason: str) -> None:
        self.failure = self.failure or reason
        self.done.set()

    def _send(self) -> None:
        while self._due and self._free:
            self._free.popleft().send(next(self._requests), self._due.popleft())


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way. Knows as much HTTP as uvicorn's answers need."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._buffer = b""
        self._due_at = 0.0
        self._transport: asyncio.Transport | None = None

    def send(self, request: bytes, due_at: float) -> None:
        self._due_at = due_at
        cast("asyncio.Transport", self._transport).write(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._load.release(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        if not head.startswith(self._load.status_line):
            self._load.fail(head.decode(errors="replace"))
            return
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) == length:
            self._buffer = b""
            self._load.release(self, self._due_at)

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.fail(f"the server closed a connection ({exc})")

    def close(self) -> None:
        cast("asyncio.Transport", self._transport).abort()


async def pace(port: int, *requests: bytes, rate: float, seconds: float, connections: int) -> Paced:
    """Send `requests`, which are to be answered 201, to loopback, one after the other and again, at a fixed rate."""
    expected = int(rate * seconds)
    return await pace_each(port, cycle(requests), expected, rate=rate, connections=connections, status=201)


async def pace_each(
    port: int, requests: Iterable[bytes], expected: int, *, rate: float, connections: int, status: int
) -> Paced:
    """Send `expected` of `requests`, in their order, at a fixed rate.

    uvloop's timers tick in ms: that millisecond is in the figures.
    """
    loop = asyncio.get_running_loop()
    load = _Load(requests, expected, status)
    opened = [
        (await loop.create_connection(lambda: _Connection(load), "127.0.0.1", port))[1] for _ in range(connections)
    ]
    lags: list[float] = []
    gc.collect()
    gc.disable()  # ours, in this process: the server's stays as it is
    began_at, begin, added = time.time(), time.perf_counter(), 0
    while added < expected and load.failure is None:
        now = time.perf_counter()
        if begin + added / rate <= now:
            lags.append(now - (begin + added / rate))
        while added < expected and begin + added / rate <= now:
            load.add(begin + added / rate)
            added += 1
        await asyncio.sleep(0.001)
    gc.enable()
    try:
        await asyncio.wait_for(load.done.wait(), DRAIN_SECONDS)
    except TimeoutError:
        sys.exit(f"only {len(load.latencies)} of {expected} requests were answered")
    if load.failure is not None:
        sys.exit(f"the server failed under load: {load.failure}")
    for connection in opened:
        connection.close()
    return Paced(
        p50_ms=percentile(load.latencies, 50),
        p99_ms=percentile(load.latencies, 99),
        worst_ms=max(load.latencies) * 1e3,
        lag_ms=percentile(lags, 99) if len(lags) > 1 else 0.0,
        began_at=began_at,
    )


def percentile(values: list[float], percent: int) -> float:
    """In ms."""
    return statistics.quantiles(values, n=100)[percent - 1] * 1e3
