"""Trees of files through the broker, against s5cmd and `aws s3 cp --recursive`, which hold the bucket's credential.

`python bench/upload.py [--check]`; `FILES=1000 LARGE_GIB=1 TURNS=1` make it shorter. Server and clients share this
machine, the sides take turns; each turn is one process with a prefix (ours: a batch and a manifest) of its own, and
every byte that it reads is in the page cache. Small files: 10,000 of 4 KiB; a tenth as many of 1 MiB; one of 4 GiB.

*Until the last PUT* is counted from exec to the last PUT, or POST that completes parts, in the store's own log, the
same for all sides: for ours the start of Python, the scan and all minting are in it. *Until the end* is until the
process has ended, for ours on Ceph with every file verified by a HEAD of the broker; it is compared with s5cmd's last
PUT, though s5cmd asks nobody what was stored. All have the same priority (`--no-nice`). What ours sends is create-only,
which s5cmd does as `--no-clobber`, by a HEAD before each PUT; that and `aws` take one turn and have no bar.

Bars: until the last PUT on Ceph at most as long as s5cmd, until verified 1.5 times as long; CPU a small file on the
sink at most half of s5cmd's; a large file at least as fast. Each is the worst of what it is said of.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table

from bench._broker import version_of
from bench._harness import print_conditions, wants_check
from bench._store_log import LogIncomplete
from bench._upload_sides import OURS, S5CMD, TOOLS, Run, Side, TurnFailed, missing_tools
from bench._upload_targets import KEPT_BYTES, Target, on_ceph, on_sink
from tests.peers.ceph.cluster import PACKAGES, missing_commands
from uploader.tree.sample import Sample
from uploader.tree.sizes import Sizes

FILES = int(os.environ.get("FILES", "10000"))
LARGE_BYTES = int(float(os.environ.get("LARGE_GIB", "4")) * (1 << 30))
TURNS = int(os.environ.get("TURNS", "3"))
WARM_FILES = 100
PUT_BAR, VERIFIED_BAR, CPU_BAR, LARGE_BAR = 1.0, 1.5, 0.5, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One tree to upload."""

    name: str
    tree: Path
    files: int
    size_bytes: int


@dataclass(slots=True)
class Results:
    """What each side needed for one load on one target."""

    target: Target
    load: Load
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def median(self, side: str, figure: Callable[[Run], float]) -> float:
        return statistics.median(map(figure, self.runs[side]))

    def ratio(self, figure: Callable[[Run], float], other: Callable[[Run], float] | None = None) -> float:
        """Ours, of theirs."""
        return self.median(OURS, figure) / self.median(S5CMD, other or figure)


def main() -> None:
    is_check = wants_check("uploading trees: ours against s5cmd and aws s3 cp")
    _require_peers()
    with tempfile.TemporaryDirectory(prefix="bench-upload-trees-") as folder:
        loads = _made(Path(folder))
        with on_ceph(large_bytes=LARGE_BYTES) as target:
            on_the_ceph = _measured(target, loads, Path(folder))
        with on_sink(large_bytes=LARGE_BYTES) as target:
            on_the_sink = _measured(target, loads, Path(folder))
    for results in (*on_the_ceph, *on_the_sink):
        _print(results)
    _print_conditions()
    _report(on_the_ceph, on_the_sink, is_check=is_check)


def _require_peers() -> None:
    if missing := missing_tools():
        sys.exit(f"bench/upload.py compares with {' and '.join(missing)}, not in {TOOLS}: make install-dev")
    if missing := missing_commands():
        sys.exit(f"bench/upload.py needs a Ceph ({', '.join(missing)} not found): apt-get install {' '.join(PACKAGES)}")


def _made(directory: Path) -> list[Load]:
    kinds = [
        ("4 KiB", FILES, 4 << 10),
        ("1 MiB", max(1, FILES // 10), 1 << 20),
        (f"{LARGE_BYTES / (1 << 30):g} GiB", 1, LARGE_BYTES),
    ]
    loads = []
    for number, (name, files, size_bytes) in enumerate(kinds):
        tree = directory / f"tree{number}"
        sizes = Sizes(least_bytes=size_bytes, most_bytes=size_bytes)
        Sample(files=files, depth=1 if files == 1 else 2, sizes=sizes, seed=number).make(tree)
        loads.append(Load(name=f"{files:,} × {name}", tree=tree, files=files, size_bytes=files * size_bytes))
    return loads


def _measured(target: Target, loads: Sequence[Load], directory: Path) -> list[Results]:
    """A warm-up of few files for each side, then the loads, and the sides of each in turns."""
    sides = [Side.ours(), Side.s5cmd(), Side.careful_s5cmd(), Side.aws()]
    state = directory / f"state-{target.region}"
    state.mkdir()
    warm = Load(name="warm-up", tree=directory / f"warm-{target.region}", files=WARM_FILES, size_bytes=0)
    Sample(files=warm.files, depth=1).make(warm.tree)
    results = []
    for load in (warm, *loads):
        each = Results(target, load)
        for turn in range(1 if load is warm else TURNS):
            for side in sides if turn % 2 == 0 else reversed(sides):
                if turn == 0 or side.name in {OURS, S5CMD}:
                    each.runs.setdefault(side.name, []).append(_run(side, each, f"{load.tree.name}-{turn}", state))
        results.append(each)
    return results[1:]


def _run(side: Side, results: Results, label: str, state: Path) -> Run:
    target, load = results.target, results.load
    _warm(load.tree)
    try:
        run = side.run(target, load.tree, load.files, label, state)
    except (TurnFailed, LogIncomplete) as exc:
        sys.exit(f"bench/upload.py, {load.name} on {target.name}: {exc}")
    finally:
        if load.size_bytes >= load.files * KEPT_BYTES:
            target.forget()
    said = f"last PUT {run.put_seconds:.2f} s, end {run.all_seconds:.2f} s"
    print(f"{load.name} on {target.name}, {side.name}: {said}", flush=True)
    return run


def _warm(tree: Path) -> None:
    """What one turn read last is not what the next one reads first: all of it is in memory for each."""
    subprocess.run(["find", str(tree), "-type", "f", "-exec", "cat", "{}", "+"], stdout=subprocess.DEVNULL, check=True)


def _print(results: Results) -> None:
    load, target = results.load, results.target
    end = "verified" if target.is_verifying else "the end"
    times = ["until the last PUT, s", "slowest - fastest", f"until {end}, s"]
    rest = ["MB/s", "CPU a file, µs", "peak RSS, MB", "turns"]
    table = Table("", *times, *rest, title=f"{load.name} on {target.name}")
    for side, runs in results.runs.items():
        puts = [run.put_seconds for run in runs]
        median = statistics.median(puts)
        table.add_row(
            side,
            f"{median:,.2f}",
            f"{max(puts) - min(puts):,.2f}",
            f"{results.median(side, lambda run: run.all_seconds):,.2f}",
            f"{load.size_bytes / median / 1e6:,.0f}",
            f"{results.median(side, lambda run: run.cpu_seconds) / load.files * 1e6:,.0f}",
            f"{results.median(side, lambda run: run.peak_bytes) / 1e6:,.0f}",
            str(len(runs)),
        )
    Console(width=130).print(table)


def _print_conditions() -> None:
    print_conditions(
        *("aiohttp", "httptools", "uvloop", "awscli"),
        s5cmd=_version_of_s5cmd(),
        ceph=version_of("ceph"),
        redis_server=version_of("redis-server"),
        durability="appendfsync everysec",
        settings="each side and the broker with its own defaults; Ceph: one OSD in memory, one gateway, no TLS",
    )


def _version_of_s5cmd() -> str:
    argv = [str(TOOLS / "s5cmd"), "version"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=10, check=True).stdout.strip()


def _report(on_the_ceph: Sequence[Results], on_the_sink: Sequence[Results], *, is_check: bool) -> None:
    """Lower is better in all of them."""
    *small_on_ceph, large_on_ceph = on_the_ceph
    small_on_sink, *_, large_on_sink = on_the_sink
    bars = {
        "upload-last-put": (max(each.ratio(_put) for each in small_on_ceph), PUT_BAR),
        "upload-verified": (max(each.ratio(_end, _put) for each in small_on_ceph), VERIFIED_BAR),
        "upload-cpu": (small_on_sink.ratio(_cpu), CPU_BAR),
        "upload-large": (max(large_on_ceph.ratio(_put), large_on_sink.ratio(_put)), 1 / LARGE_BAR),
    }
    print("lower is better: each is time or CPU of ours by that of s5cmd, and the bar is the most that it may be")
    for name, (ratio, bar) in bars.items():
        print(f"RESULT {name} ratio={ratio:.2f} bar={bar:.2f}", flush=True)
    if is_check and any(ratio > bar for ratio, bar in bars.values()):
        sys.exit(1)


def _put(run: Run) -> float:
    return run.put_seconds


def _end(run: Run) -> float:
    return run.all_seconds


def _cpu(run: Run) -> float:
    return run.cpu_seconds


if __name__ == "__main__":
    main()
