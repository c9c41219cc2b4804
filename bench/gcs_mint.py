"""Permitting an upload to Cloud Storage at 50 ms of IAM: the broker against google-cloud-storage in threads.

python bench/gcs_mint.py [--check]

Both act for the same service account by the same source credential: `emulators google-iam`, which verifies what it is
asked and really signs. A signed PUT costs one signBlob; an upload session, opened by the server for the client, none.
Either side is one process on core 0, IAM and store are on core 1, and TLS is between them, as it is in production: a
new connection is dear because of it. What is compared is the CPU time that one takes, that is, how many a core makes;
how many a second came out is printed beside it, behind one emulator that signs on the other core. The
ratio is of as many signed PUTs as sessions, each alone is printed beside it. The two sides' PUTs are proved to bind the
same, and at the end 10,000 of ours must have cost two tokens at most.
"""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._harness import Series, print_conditions, print_table, report, take_turns, wants_check

try:
    import certifi  # noqa: F401 - tls_front trusts what it trusts
    import google.cloud.storage  # noqa: F401 - the peer is one

    from bench._broker import LOAD_CORE, SERVER_CORE, environment, on_core
    from bench._gcs_minting import WRITER
    from emulators.google_iam.process import GoogleIamProcess, start_google_iam
except ImportError as missing:
    sys.exit(f"bench/gcs_mint.py compares with google-cloud-storage, which is not installed ({missing}): make install")

BAR = 20.0
TURNS = 5
LATENCY_MS = 50
BROKER = "broker@acme.iam.gserviceaccount.com"
MINTS, TOKENS = 10_000, 2
HERE = Path(__file__).parent
OURS, THEIRS = HERE / "_gcs_mint_ours.py", HERE / "peers" / "google_mint.py"
OUR_REQUESTS, THEIR_THREADS = 150, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The stand-ins, and what a side must be told of them."""

    iam: GoogleIamProcess
    arguments: Sequence[str]

    def tokens(self) -> int:
        """How many were given so far."""
        with urllib.request.urlopen(f"{self.iam.endpoint}/_emulator/counters", timeout=10) as response:  # noqa: S310
            asked: dict[str, int] = json.load(response)["requests"]
        return asked.get("token", 0) + asked.get("generateAccessToken", 0)


@dataclass(slots=True, kw_only=True)
class Side:
    """One way to permit an upload. `rates`: how many a second, a figure for each turn; `samples`: a URL of each."""

    name: str
    script: Path
    what: str
    count: int
    at_once: int
    world: World
    rates: list[float] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)

    def cpu_seconds(self) -> float:
        """Of one mint."""
        said = _run(self, self.count)
        self.rates.append(self.count / said["seconds"])
        self.samples.append(said["sample"])
        return float(said["cpu_seconds"] / self.count)


def main() -> None:
    is_check = wants_check("a signed PUT by impersonation: ours against google-cloud-storage in threads")
    if not {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        sys.exit("bench/gcs_mint.py needs two cores: one for the side that is measured, one for IAM and store")
    with ExitStack() as stack:
        world = _start(stack)
        ours = Side(name="signed PUT, ours", script=OURS, what="put", count=1_500, at_once=OUR_REQUESTS, world=world)
        theirs = Side(
            name="signed PUT, generate_signed_url",
            script=THEIRS,
            what="put",
            count=60,
            at_once=THEIR_THREADS,
            world=world,
        )
        our_session = Side(
            name="session, ours", script=OURS, what="session", count=4_000, at_once=OUR_REQUESTS, world=world
        )
        their_session = Side(
            name="session, create_resumable_upload_session",
            script=THEIRS,
            what="session",
            count=500,
            at_once=THEIR_THREADS,
            world=world,
        )
        sides = [ours, theirs, our_session, their_session]
        series = take_turns({side.name: side.cpu_seconds for side in sides}, turns=TURNS)
        _require_same_binding(ours.samples[-1], theirs.samples[-1])
        tokens = _tokens_of_many(ours)
    _print(sides, series, tokens)
    put, their_put, session, their_open = (each.median for each in series)
    print(f"signed PUT alone: {their_put / put:.1f} times; session alone: {their_open / session:.1f} times")
    if tokens > TOKENS:
        sys.exit(f"{MINTS:,} signed PUTs cost {tokens} tokens, which may be {TOKENS} at most")
    report("gcs_mint", ratio=(their_put + their_open) / (put + session), bar=BAR, is_check=is_check)


def _start(stack: ExitStack) -> World:
    """On the core that is not measured."""
    os.sched_setaffinity(0, {LOAD_CORE})
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-gcs-mint-"))
    iam = stack.enter_context(
        start_google_iam(accounts=(BROKER,), impersonate={BROKER: (WRITER,)}, latency_ms=LATENCY_MS)
    )
    store = _started(stack, "session_store.py")["store"]
    ports = [str(urlsplit(url).port) for url in (iam.endpoint, store)]
    front = _started(stack, "tls_front.py", "--directory", directory, "--to", *ports)
    iam_port, store_port = front["ports"]
    arguments = [
        f"--iam=https://127.0.0.1:{iam_port}",
        f"--store=https://127.0.0.1:{store_port}",
        f"--ca={front['ca']}",
        f"--key-file={iam.key_files[BROKER]}",
    ]
    return World(iam=iam, arguments=arguments)


def _started(stack: ExitStack, name: str, *arguments: str) -> dict[str, Any]:
    """What a stand-in says when it is ready."""
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, str(HERE / "peers" / name), *arguments], env=environment(), stdout=subprocess.PIPE
        )
    )
    stack.callback(process.terminate)
    assert process.stdout is not None  # noqa: S101 - for the type checker
    said: dict[str, Any] = json.loads(process.stdout.readline())
    return said


def _run(side: Side, count: int) -> dict[str, Any]:
    told = [f"--what={side.what}", f"--count={count}", f"--at-once={side.at_once}", *side.world.arguments]
    with on_core(SERVER_CORE):
        done = subprocess.run(
            [sys.executable, str(side.script), *told],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    if done.returncode:
        sys.exit(f"{side.name} failed:\n{done.stderr}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def _tokens_of_many(ours: Side) -> int:
    """How many tokens `MINTS` signed PUTs of one process cost, those to warm up included."""
    before = ours.world.tokens()
    _run(ours, MINTS)
    return ours.world.tokens() - before


def _require_same_binding(one: str, other: str) -> None:
    """End the bench unless both URLs permit the same, whenever they were made."""

    def bound(url: str) -> tuple[str, str, str, dict[str, list[str]]]:
        parts = urlsplit(url)
        query = parse_qs(parts.query, strict_parsing=True)
        credential = query.pop("X-Goog-Credential")[0].partition("/")[0]
        for name in ("X-Goog-Date", "X-Goog-Signature"):
            del query[name]
        return parts.netloc, parts.path, credential, query

    if bound(one) != bound(other):
        sys.exit(f"the two sides do not permit the same:\n{bound(one)}\n{bound(other)}")


def _print(sides: Sequence[Side], series: Sequence[Series], tokens: int) -> None:
    print_table("CPU time of one mint", series, unit="ms", scale=1e3)
    for side, each in zip(sides, series, strict=True):
        rate = sorted(side.rates[1:])[len(side.rates[1:]) // 2]
        print(f"{side.name}: {1 / each.median:,.0f} a second and core; {rate:,.0f} came out, {side.at_once} at once")
    print(f"{MINTS:,} signed PUTs of ours cost {tokens} token calls")
    print_conditions(
        *("google-auth", "google-cloud-storage", "requests", "aiohttp", "uvloop"),
        durability="none (no ledger)",
        pinning=f"side on core {SERVER_CORE}; IAM, store and TLS before them on core {LOAD_CORE}",
    )


if __name__ == "__main__":
    main()
