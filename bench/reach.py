"""How a file reaches the bucket: through an API that streams it, or past one that signs for it.

`python bench/reach.py [--check]`; `SIZE_MIB=128` makes it shorter. The same curl sends the same file to the same store
in turns, through `bench/peers/litestar_proxy.py` and by a request that the broker signed; the ratio is that of the
API's own CPU time. Then either API is killed when half of the bytes have arrived, and started again at once: what must
be sent again? The proxy's client starts over, since nothing is left; ours is the real uploader, which sends parts.
Last, what a queue holds that carries the bytes itself, against what our ledger keeps for the same upload.
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
import redis
from rich.console import Console
from rich.table import Table

from bench._harness import Series, print_conditions, print_table, report, take_turns, wants_check
from broker.dev.children import Child
from broker.dev.redis_server import start_redis
from broker.dev.stack import REGION, Stack, StackOptions, start_stack

SIZE_MIB = int(os.environ.get("SIZE_MIB", "1024"))
SIZE_BYTES = SIZE_MIB * 2**20
TURNS = 3
MINTED = 200
BAR = 20.0  # CPU of the proxy over CPU of the broker
SAMPLE_SECONDS = 0.05
PATIENT_SECONDS = 600
PEER_KEY = "bench"


@dataclass(slots=True, kw_only=True)
class Side:
    """One way, and what its API spent on each turn."""

    name: str
    api: Child
    send: Callable[[], None]
    cpu_seconds: list[float] = field(default_factory=list)
    read_bytes: list[float] = field(default_factory=list)
    peak_bytes: list[float] = field(default_factory=list)

    def turn(self) -> float:
        """Seconds until the bytes are in the bucket – ours: verified, and a job visible."""
        process = psutil.Process(_pid(self.api))
        cpu, read = _cpu_seconds(process), process.io_counters().read_chars
        with _peak(process) as peaks:
            start = time.perf_counter()
            self.send()
            seconds = time.perf_counter() - start
        self.cpu_seconds.append(_cpu_seconds(process) - cpu)
        self.read_bytes.append(process.io_counters().read_chars - read)
        self.peak_bytes.append(max(peaks))
        return seconds


def main() -> None:
    is_check = wants_check(__doc__ or "")
    with ExitStack() as cleanup:
        directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="bench-reach-")))
        file = _random_file(directory / "large.bin")
        stack = start_stack(StackOptions(directory=directory / "dev", consumers=0))
        cleanup.callback(stack.stop)
        proxy, url = _start_proxy(stack, directory)
        cleanup.callback(proxy.stop)
        sides = [
            Side(name="through the API", api=proxy, send=lambda: _send_through(url, file)),
            Side(name="past it (ours)", api=stack.broker, send=lambda: _send_past(stack, file)),
        ]
        seconds = take_turns({side.name: side.turn for side in sides}, turns=TURNS)
        again = {sides[0].name: _kill_proxy(stack, proxy, url, file), sides[1].name: _kill_broker(stack, file)}
        held = {"a queue of chunks of 1 MiB": _queued(directory, file), "our ledger": _recorded(stack)}
    ratio = _print(sides, seconds, again)
    _print_held(held)
    report("reach", ratio=ratio, bar=BAR, is_check=is_check)


def _print(sides: Sequence[Side], seconds: Sequence[Series], again: Mapping[str, int]) -> float:
    """The ratio of the CPU times."""
    print_table(f"one object of {SIZE_MIB} MiB, from the client's disk into the bucket", seconds, unit="s")
    table = Table("", "CPU of the API, s", "bytes that it read", "its peak RSS, MB", "sent again after its death, MiB")
    medians = []
    for side in sides:
        cpu, read, peak = (
            Series(name=side.name, values=values[1:]).median  # the first warms up
            for values in (side.cpu_seconds, side.read_bytes, side.peak_bytes)
        )
        medians.append(cpu)
        table.add_row(side.name, f"{cpu:.4f}", f"{read:,.0f}", f"{peak / 1e6:.1f}", f"{again[side.name] / 2**20:,.1f}")
    Console(width=110).print(table)
    print_conditions(
        *("litestar", "uvicorn", "uvloop", "aiohttp", "boto3"),
        client="curl, one PUT",
        killed="SIGKILL at half of the bytes; ours then sent by `uploader put`, in parts",
        store="our emulator on the same cores and disk",
        durability="appendfsync everysec",
    )
    return medians[0] / medians[1]


def _print_held(held: Mapping[str, tuple[int, int]]) -> None:
    table = Table("", "in memory, bytes", "in its file, bytes", title="what Redis holds before anybody has read")
    for name, (memory, file) in held.items():
        table.add_row(name, f"{memory:,}", f"{file:,}")
    Console(width=110).print(table)


# --- the two ways ----------------------------------------------------------------------------------------


def _start_proxy(stack: Stack, directory: Path) -> tuple[Child, str]:
    port = _free_port()
    about = stack.about
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "PEER_BUCKET": about.bucket,
        "PEER_REGION": REGION,
        "PEER_ENDPOINT": about.store,
        "PEER_ACCESS_KEY": about.access_key,
        "PEER_SECRET_KEY": about.secret_key,
        "PEER_KEY": PEER_KEY,
    }
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    argv = [sys.executable, "-m", "uvicorn", "bench.peers.litestar_proxy:app", "--port", str(port), *options]
    child = Child(name="proxy", argv=argv, env=env, directory=directory, is_announced=False)
    url = f"http://127.0.0.1:{port}/uploads/large.bin"
    _start(child, url)
    return child, url


def _start(child: Child, url: str) -> None:
    child.start()
    place, end = urlsplit(url), time.monotonic() + 30
    while child.is_alive and time.monotonic() < end:
        try:
            connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=1)
            connection.request("GET", "/")
            connection.getresponse()
        except OSError:
            time.sleep(0.05)
        else:
            return
    sys.exit(f"the proxy did not start; its last words:\n{child.last_words()}")


def _send_through(url: str, file: Path) -> None:
    status, _ = _curl(_through(url, file))
    if status != "201":
        sys.exit(f"the proxy answered {status}")


def _through(url: str, file: Path) -> list[str]:
    return ["-T", str(file), "-H", f"Authorization: Bearer {PEER_KEY}", url]


def _send_past(stack: Stack, file: Path) -> None:
    wish = {"filename": "large.bin", "size_bytes": SIZE_BYTES, "strategy": "put"}
    session = _ask(stack, "POST", "/upload-sessions", wish)
    signed = session["upload"]["request"]
    headers = [part for name, value in signed["headers"].items() for part in ("-H", f"{name}: {value}")]
    status, _ = _curl(["-T", str(file), *headers, signed["url"]])
    if status != "200":
        sys.exit(f"the store answered {status}")
    if _ask(stack, "POST", f"/upload-sessions/{session['id']}/completion", {})["state"] != "verified":
        sys.exit("the upload was not verified at once")


def _ask(stack: Stack, method: str, path: str, body: Any) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {stack.about.api_key}", "Content-Type": "application/json"}
    url, data = stack.about.broker + path, json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return dict(json.load(answer))


def _curl(arguments: Sequence[str]) -> tuple[str, int]:
    """The status, and how many bytes of the body went out."""
    done = subprocess.run(_curl_argv(arguments), capture_output=True, text=True, timeout=PATIENT_SECONDS, check=False)
    return _said(done.stdout)


def _curl_argv(arguments: Sequence[str]) -> list[str]:
    return ["curl", "-sS", "-o", os.devnull, "-H", "Expect:", "-w", "%{http_code} %{size_upload}", *arguments]


def _said(text: str) -> tuple[str, int]:
    status, sent = text.split()
    return status, int(sent)


# --- what a death of the API costs -------------------------------------------------------------------------


def _kill_proxy(stack: Stack, proxy: Child, url: str, file: Path) -> int:
    """How many bytes its client sent for nothing."""
    before = _arrived(stack)
    argv = _curl_argv(_through(url, file))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as client:
        _until_half(stack, before)
        proxy.kill()
        said, _ = client.communicate(timeout=PATIENT_SECONDS)
    _, lost = _said(said)
    _start(proxy, url)
    _send_through(url, file)
    return lost


def _kill_broker(stack: Stack, file: Path) -> int:
    """How many bytes the store got more than once."""
    before = _arrived(stack)
    env = {"PATH": os.environ["PATH"], "BROKER_URL": stack.about.broker, "BROKER_API_KEY": stack.about.api_key}
    argv = [sys.executable, "-m", "uploader", "put", str(file), "--wait", "verified", "--no-resume"]
    root = Path(__file__).parents[1]
    with subprocess.Popen(argv, env=env, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        _until_half(stack, before)
        stack.broker.kill()
        stack.broker.start()
        if client.wait(PATIENT_SECONDS):
            sys.exit("the uploader did not survive the broker")
    return _arrived(stack) - before - SIZE_BYTES


# --- what a queue holds -------------------------------------------------------------------------------------


def _queued(directory: Path, file: Path) -> tuple[int, int]:
    """The file as entries of a stream, in an append-only Redis of its own."""
    (directory / "queue").mkdir()
    server = start_redis(directory / "queue")
    try:
        with redis.Redis.from_url(server.url) as client, file.open("rb") as body:
            before = _held(client)
            while chunk := body.read(2**20):
                client.xadd("upload", {"chunk": chunk})
            return _grown(before, _held(client))
    finally:
        server.stop()


def _recorded(stack: Stack) -> tuple[int, int]:
    """One upload of that size, minted: the mean of some, since an allocator gives room in pieces."""
    wish = {"filename": "large.bin", "size_bytes": SIZE_BYTES, "strategy": "put"}
    with redis.Redis.from_url(stack.about.redis) as client:
        before = _held(client)
        for _ in range(MINTED):
            _ask(stack, "POST", "/upload-sessions", wish)
        memory, file = _grown(before, _held(client))
        return memory // MINTED, file // MINTED


def _held(client: "redis.Redis") -> tuple[int, int]:
    info: dict[str, Any] = client.info()
    return int(info["used_memory"]), int(info["aof_current_size"])


def _grown(before: tuple[int, int], after: tuple[int, int]) -> tuple[int, int]:
    return after[0] - before[0], after[1] - before[1]


def _arrived(stack: Stack) -> int:
    with urllib.request.urlopen(f"{stack.about.store}/_emulator/counters", timeout=30) as answer:  # noqa: S310
        return int(json.load(answer)["bytes_in"])


def _until_half(stack: Stack, before: int) -> None:
    end = time.monotonic() + PATIENT_SECONDS
    while _arrived(stack) - before < SIZE_BYTES // 2:
        if time.monotonic() > end:
            sys.exit("half of the file never arrived")
        time.sleep(0.002)


@contextmanager
def _peak(process: psutil.Process) -> Iterator[list[int]]:
    """Samples of its resident memory while the block runs."""
    samples, done = [process.memory_info().rss], threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            samples.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield samples
    done.set()
    watcher.join()


def _random_file(path: Path) -> Path:
    """One random MiB over and over: nothing on the way compresses or looks back."""
    chunk = os.urandom(2**20)
    with path.open("wb") as file:
        for _ in range(SIZE_MIB):
            file.write(chunk)
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _cpu_seconds(process: psutil.Process) -> float:
    """Of all its threads, to the nanosecond: the usual counters have hundredths, more than one of our uploads costs."""
    threads = Path(f"/proc/{process.pid}/task").glob("*/schedstat")  # Documentation/scheduler/sched-stats.rst
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def _pid(child: Child) -> int:
    assert child.process is not None  # noqa: S101 - for the type checker
    return child.process.pid


if __name__ == "__main__":
    main()
