"""A broker to measure: one process on a core of its own. Redis, wrk and whatever else makes the load share another."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import redis

from broker.dev.children import Child
from broker.dev.redis_server import RedisServer, start_redis

ROOT = Path(__file__).resolve().parents[1]
SERVER_CORE, LOAD_CORE = 0, 1
BUCKET, REGION, ENDPOINT = "acme-uploads", "eu-central-1", "http://127.0.0.1:9"  # nothing listens there, nobody calls
ACCESS_KEY, SECRET_KEY = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # the documentation's


def require_tools(bench: str) -> None:
    for tool in ("wrk", "redis-server"):
        if shutil.which(tool) is None:
            sys.exit(f"{bench} needs {tool}: install the Debian package {tool}")
    if not {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        sys.exit(f"{bench} needs two cores: one for the server, one for load and Redis")


def start_ledger(stack: ExitStack, directory: Path) -> RedisServer:
    """On the core of this process, which wrk inherits too."""
    os.sched_setaffinity(0, {LOAD_CORE})
    server = start_redis(directory, executable=Path(str(shutil.which("redis-server"))))
    stack.callback(server.stop)
    with redis.Redis.from_url(server.url) as client:
        # A rewrite forks and reads everything in the middle of somebody's turn; each write is appended all the same.
        client.config_set("auto-aof-rewrite-percentage", 0)
    return server


def start_broker(
    stack: ExitStack, directory: Path, redis_url: str, key: str, *, more: str = ""
) -> tuple[int, psutil.Process]:
    """The port of an API without looker and relay, with one key of role `mint`, and its process.

    :param more: configuration, as TOML.
    """
    configured = ["--config", str(_config(directory, redis_url, key, more))]
    broker = Child(
        name="broker",
        argv=[
            *(sys.executable, "-m", "broker", "serve", "--no-look", "--no-relay", "--json"),
            *configured,
            *("--port", "0"),
        ],
        env=environment(BENCH_CAPSULE_KEY="c" * 48, BENCH_SECRET_KEY=SECRET_KEY),
        directory=directory,
    )
    with on_core(SERVER_CORE):
        stack.callback(broker.stop)
        announced = broker.start()
    return cast("int", urlsplit(announced["broker"]).port), process_of(broker)


def environment(**settings: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **settings}


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started inside stays on this core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def process_of(child: Child) -> psutil.Process:
    assert child.process is not None  # noqa: S101 - for the type checker
    return psutil.Process(child.process.pid)


def cpu_seconds(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))


def wrk_script(directory: Path, name: str, body: str, headers: Mapping[str, str]) -> Path:
    """:param body: without a single quote."""
    path = directory / f"{name}.lua"
    lines = [f'wrk.headers["{header}"] = "{value}"\n' for header, value in headers.items()]
    path.write_text(f"wrk.method = \"POST\"\nwrk.body = '{body}'\n{''.join(lines)}")
    return path


def wrk(url: str, script: Path, *, connections: int, seconds: int) -> tuple[int, float]:
    """One turn: how many requests, and how many a second."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script), url]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    requests, rate = re.search(r"(\d+) requests in", done.stdout), re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if not requests or not rate or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"wrk was not answered as it should be:\n{done.stdout}{done.stderr}")
    return int(requests[1]), float(rate[1])


def version_of(tool: str) -> str:
    said = subprocess.run([tool, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    found = re.search(r"\d+\.\d+(\.\d+)?", said)
    return found[0] if found else "unknown"


def _config(directory: Path, redis_url: str, key: str, more: str) -> Path:
    path = directory / "broker.toml"
    path.write_text(f"""\
[ledger]
url = "{redis_url}"
durability = "everysec"

[server]
log_level = "warning"

[secrets]
capsule_keys = [{{env = "BENCH_CAPSULE_KEY"}}]

[destinations.default]
provider = "s3"
dialect = "aws"
bucket = "{BUCKET}"
region = "{REGION}"
endpoint = "{ENDPOINT}"
addressing = "path"

[destinations.default.credentials.default]
access_key_id = "{ACCESS_KEY}"
secret_access_key = {{env = "BENCH_SECRET_KEY"}}

[keys.bench]
hash = "{hashlib.sha256(key.encode()).hexdigest()}"
roles = ["mint"]

{more}
""")
    return path
