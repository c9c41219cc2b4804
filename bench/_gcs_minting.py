"""One side of `bench/gcs_mint.py`, in a process of its own: how it is told what to do, and what it answers."""

import argparse
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

BUCKET, KEY = "acme-uploads", "uploads/3fq2v7k5w6n4x2l7c3m5h9d8z1/quarterly report.csv"
WRITER = "uploads-writer@acme.iam.gserviceaccount.com"
SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)
SIZE_BYTES, CONTENT_TYPE, MD5 = 10_485_760, "text/csv", "1B2M2Y8AsgTpgAmY7PhCfg=="
METADATA = {"upload-session": "c" * 320, "mtime": "1732100000"}
LIFETIME_SECONDS = 900
GOOGLE_STORAGE = "https://storage.googleapis.com"  # what is signed for; nobody calls it
WARM_UP = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """`what`: put or session. `iam` and `store` are the stand-ins' addresses, `ca` whom to trust."""

    what: str
    count: int
    at_once: int
    iam: str
    store: str
    key_file: Path
    ca: Path

    @classmethod
    def told(cls) -> "Task":
        parser = argparse.ArgumentParser()
        for name in ("what", "count", "at-once", "iam", "store", "key-file", "ca"):
            parser.add_argument(f"--{name}", required=True)
        said = parser.parse_args()
        return cls(
            what=said.what,
            count=int(said.count),
            at_once=int(said.at_once),
            iam=said.iam,
            store=said.store,
            key_file=Path(said.key_file),
            ca=Path(said.ca),
        )


def measured(run: Callable[[int], object], count: int) -> None:
    """Print what `count` took after a few to warm up: wall time and the process's own CPU time, threads included."""
    run(WARM_UP)
    start, before = time.perf_counter(), _cpu_seconds()
    sample = run(count)
    _say(time.perf_counter() - start, _cpu_seconds() - before, sample)


async def measured_here(run: Callable[[int], Awaitable[object]], count: int) -> None:
    """As `measured`, on an event loop."""
    await run(WARM_UP)
    start, before = time.perf_counter(), _cpu_seconds()
    sample = await run(count)
    _say(time.perf_counter() - start, _cpu_seconds() - before, sample)


def _say(seconds: float, cpu_seconds: float, sample: object) -> None:
    json.dump({"seconds": seconds, "cpu_seconds": cpu_seconds, "sample": sample}, sys.stdout)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
