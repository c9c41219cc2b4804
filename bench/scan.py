"""A tree of 1,000,000 files into the manifest, and once more unchanged; against finding them and doing nothing else.

`python bench/scan.py [--check]`; `FILES=100000` makes it shorter. The peers write nothing down: `os.walk` with an
`os.stat` for each file, and `find -printf` to nowhere. So the bar is not to win, but to take no more than four times
as long as the walk: 0.25. Besides: 50,000 files a second, 150 MB at the peak, and no more memory for all files than
for a tenth of them. The tree is of hard links, made once and removed; the kernel has its directories in memory.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table

from bench._harness import print_conditions, print_table, report, take_turns, wants_check
from uploader.tree.sample import Sample
from uploader.tree.sizes import Sizes

FILES = int(os.environ.get("FILES", "1000000"))
LINKS = 50  # to a file: 20,000 files of some 3,000 sizes, whose order by size is not the one of the walk
TURNS = 3
BAR = 0.25
FILES_A_SECOND = 50_000
PEAK_BYTES = 150_000_000
GROWTH = 1.1  # of the peak from a tenth of the files to all of them
HERE = Path(__file__).parent


@dataclass(slots=True)
class Ours:
    """Scans of one tree. `said` is what each measured."""

    tree: Path
    files: int
    state: Path
    said: list[dict[str, float]] = field(default_factory=list)
    again: list[dict[str, float]] = field(default_factory=list)

    def first_scan(self) -> float:
        """Into a new manifest."""
        shutil.rmtree(self.state, ignore_errors=True)
        return self._scan(self.said, "new")

    def second_scan(self) -> float:
        """Of what the manifest knows already."""
        return self._scan(self.again, "unchanged")

    def _scan(self, said: list[dict[str, float]], expected: str) -> float:
        argv = [sys.executable, str(HERE / "_scan_ours.py"), str(self.tree), str(self.state / "m.sqlite")]
        done = subprocess.run(argv, check=True, capture_output=True, text=True)
        said.append(json.loads(done.stdout))
        if said[-1][expected] != self.files:
            sys.exit(f"bench/scan.py: {said[-1][expected]:,} of {self.files:,} files were {expected}")
        return said[-1]["seconds"]

    @property
    def peak_bytes(self) -> float:
        return max(each["peak_bytes"] for each in (*self.said, *self.again))


def main() -> None:
    is_check = wants_check(__doc__ or "")
    with tempfile.TemporaryDirectory(prefix="bench-scan-") as folder:
        directory = Path(folder)
        ours = _made(directory / "all", FILES)
        tenth = _made(directory / "tenth", FILES // 10)
        tenth.first_scan()
        tenth.second_scan()
        sides = {
            "ours: first scan into a manifest": ours.first_scan,
            "os.walk and os.stat": lambda: _walk(ours.tree),
            "find -printf": lambda: _find(ours.tree),
        }
        series = take_turns(sides, turns=TURNS)
        ours.first_scan()
        (again,) = take_turns({"ours: once more, unchanged": ours.second_scan}, turns=TURNS)
        size_bytes = sum(path.stat().st_size for path in ours.state.iterdir())
    print_table(f"{FILES:,} files", [*series, again], unit="s")
    _print_memory(ours, tenth, size_bytes)
    print_conditions(tree=f"{LINKS} hard links to a file, 1,000 files a directory", disk=folder)
    first, walk, _ = (each.median for each in series)
    _require(FILES / first, ours, tenth)
    report("scan", ratio=walk / first, bar=BAR, is_check=is_check)


def _made(directory: Path, files: int) -> Ours:
    Sample(files=files, depth=2, sizes=Sizes.parse("0-4KiB"), links=LINKS).make(directory)
    return Ours(directory, files, directory.with_name(f"{directory.name}-state"))


def _walk(tree: Path) -> float:
    argv = [sys.executable, str(HERE / "peers" / "walk_and_stat.py"), str(tree)]
    return float(json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)["seconds"])


def _find(tree: Path) -> float:
    began = time.perf_counter()
    argv = ["find", str(tree), "-type", "f", "-printf", r"%s %T@ %m %P\0"]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _print_memory(ours: Ours, tenth: Ours, size_bytes: int) -> None:
    table = Table("", "files", "peak RSS, MB", "CPU, µs a file", "next 1,000 by size, ms", title="ours, in one process")
    for each in (tenth, ours):
        table.add_row(
            *("first scan", f"{each.files:,}", f"{each.peak_bytes / 1e6:.1f}"),
            f"{each.said[-1]['cpu_seconds'] / each.files * 1e6:.2f}",
            f"{each.said[-1]['take_seconds'] * 1e3:.1f}",
        )
    Console(width=110).print(table)
    print(f"the manifest: {size_bytes / ours.files:.0f} bytes a file")


def _require(rate: float, ours: Ours, tenth: Ours) -> None:
    growth = ours.peak_bytes / tenth.peak_bytes
    print(f"{rate:,.0f} files a second; memory grows {growth:.2f} times from {tenth.files:,} to {ours.files:,} files")
    if rate < FILES_A_SECOND:
        sys.exit(f"fewer than {FILES_A_SECOND:,} files a second")
    if ours.peak_bytes > PEAK_BYTES or growth > GROWTH:
        sys.exit(f"more than {PEAK_BYTES / 1e6:.0f} MB, or more than {GROWTH} times that of a tenth of the files")


if __name__ == "__main__":
    main()
