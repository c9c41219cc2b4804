"""`POST /upload-sessions` while credentials rotate, against one destination whose key never changes.

python bench/credentials.py [--check]

The one side has 64 destinations in 8 accounts, each reached by a role that is narrowed for every right. That makes 192
credentials, each renewed about every 5 seconds from an STS that gives ten (`tests/short_sts.py`; a real one gives 15
minutes at the least). The other has one destination and a static key. Each turn starts one broker on core 0, asks it at
a fixed rate, destination after destination, and stops it, so that neither renews anything in the other's turn; load,
Redis and STS are on core 1. That every credential was another one afterwards is proved each time. A latency counts from
the moment at which the request was due (G. Tene, "coordinated omission").
"""

import json
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._harness import print_conditions, print_table, report_at_most, take_turns, wants_check
from broker.dev.children import Child
from broker.domain.errors import ConfigurationInvalid
from broker.domain.principals import new_key_text

try:
    import uvloop

    from bench._broker import (
        LOAD_CORE,
        REGION,
        SERVER_CORE,
        environment,
        require_tools,
        start_broker,
        start_ledger,
        version_of,
    )
    from bench._paced import Paced, pace
except ImportError as missing:
    sys.exit(f"bench/credentials.py measures a broker that cannot run here ({missing}): make install-dev")

BAR = 2.0
TURNS = 5
TURN_SECONDS = 15.0  # three rotations
RATE = 1_000.0
CONNECTIONS = 32
ACCOUNTS, DESTINATIONS = 8, 64
LIFE_SECONDS = 10  # kept for half of it
LAG_LIMIT_MS = 3.0  # a generator that is later than this one time in a hundred measures itself
ATTEMPTS = 3


@dataclass(slots=True, kw_only=True)
class Side:
    """A broker to be, and the destinations that it is asked for. `runs`: what was measured, a turn each."""

    name: str
    configuration: str
    destinations: Sequence[str]
    redis_url: str
    directory: Path
    key: str
    is_rotating: bool
    runs: list[Paced] = field(default_factory=list)

    def p99_ms(self) -> float:
        """Of the first run in which the generator kept its rate."""
        for _ in range(ATTEMPTS):
            run = self._run()
            is_late = run.lag_ms > LAG_LIMIT_MS
            print(f"{self.name}: {run}{': not counted' if is_late else ''}", flush=True)
            if not is_late:
                self.runs.append(run)
                return run.p99_ms
        sys.exit("the generator could not keep its rate: this machine is too busy")

    def _run(self) -> Paced:
        requests = [_http_request(self.key, name) for name in self.destinations]
        with self._broker() as port:
            before = self._signers(port)
            run = uvloop.run(pace(port, *requests, rate=RATE, seconds=TURN_SECONDS, connections=CONNECTIONS))
            after = self._signers(port)
        is_other = [one != other for one, other in zip(before, after, strict=True)]
        if is_other != [self.is_rotating] * len(is_other):
            sys.exit(f"{self.name}: {sum(is_other)} of {len(is_other)} destinations signed with another key afterwards")
        return run

    @contextmanager
    def _broker(self) -> Iterator[int]:
        with ExitStack() as stack:
            yield start_broker(stack, self.directory, self.redis_url, self.key, more=self.configuration)[0]

    def _signers(self, port: int) -> list[str]:
        """The access key that signs for each destination."""
        return [_signer(_post(port, self.key, name)) for name in self.destinations]


def main() -> None:
    is_check = wants_check("POST /upload-sessions: 64 destinations with rotating credentials against one static key")
    require_tools("bench/credentials.py")
    key = new_key_text("bench")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-credentials-")))
        try:
            server = start_ledger(stack, directory)
            sts = _start_sts(stack, directory)
        except ConfigurationInvalid as missing:
            sys.exit(missing.detail)
        names = [f"d{number:02}" for number in range(DESTINATIONS)]
        shared = {"redis_url": server.url, "directory": directory, "key": key}
        rotating = Side(
            name=f"{DESTINATIONS} destinations, rotating",
            configuration="".join(_destination(name, number % ACCOUNTS, sts) for number, name in enumerate(names)),
            destinations=names,
            is_rotating=True,
            **shared,
        )
        static = Side(
            name="one destination, static", configuration="", destinations=["default"], is_rotating=False, **shared
        )
        series = take_turns({each.name: each.p99_ms for each in (rotating, static)}, turns=TURNS)
    print_table(f"p99 of POST /upload-sessions at {RATE:,.0f} requests/s", series, unit="ms")
    print_conditions(
        *("litestar", "botocore", "uvicorn", "uvloop"),
        redis_server=version_of("redis-server"),
        durability="appendfsync everysec, no rewrite during turns",
        pinning=f"broker on core {SERVER_CORE}; load, Redis and STS on core {LOAD_CORE}",
    )
    report_at_most("credentials", ratio=series[0].median / series[1].median, bar=BAR, is_check=is_check)


def _start_sts(stack: ExitStack, directory: Path) -> str:
    child = Child(
        name="sts",
        argv=[sys.executable, "-m", "tests.short_sts", "--life", str(LIFE_SECONDS)],
        env=environment(),
        directory=directory,
    )
    stack.callback(child.stop)
    return str(child.start()["sts"])


def _destination(name: str, account: int, sts: str) -> str:
    return f"""
[destinations.{name}]
dialect = "aws"
bucket = "acme-uploads-{name}"
region = "{REGION}"

[destinations.{name}.credentials.default]
role_arn = "arn:aws:iam::{account:012}:role/uploads"
sts_endpoint = "{sts}"
source = {{access_key_id = "AKIAHUB", secret_access_key = {{env = "BENCH_SECRET_KEY"}}}}
"""


def _body(destination: str) -> str:
    return json.dumps({"filename": "report.csv", "size_bytes": 10_485_760, "destination": destination})


def _http_request(key: str, destination: str) -> bytes:
    body = _body(destination)
    head = f"POST /upload-sessions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def _post(port: int, key: str, destination: str) -> str:
    """The URL that was signed."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/upload-sessions", data=_body(destination).encode(), method="POST"
    )
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310 - loopback
        return str(json.load(response)["upload"]["request"]["url"])


def _signer(url: str) -> str:
    return parse_qs(urlsplit(url).query)["X-Amz-Credential"][0].partition("/")[0]


if __name__ == "__main__":
    main()
