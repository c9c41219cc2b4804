"""A tree of 1,000,000 files to `uploader put`, 50,000 of them sent: how fast it is scanned meanwhile, in what memory.

`python bench/tree.py [--check]`; `FILES=100000 SENT=5000` make it shorter. One process scans into its manifest, mints,
and sends to the nginx of bench/upload.py; broker, Redis and nginx share the machine with it. Smallest files first, as
by default. As soon as the manifest says that the scan has ended, and nginx's log that 50,000 files are there, the run
is interrupted as by Ctrl-C; what it leaves has to know all files, and those as sent or in flight.

Bars: 50,000 files a second from exec to the scan's end; 150 MB at the peak (VmHWM of proc(5)), and no more than 1.25
times as much as for a tenth of the files, with as many sent.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

from bench._broker import cpu_seconds
from bench._harness import print_conditions, wants_check
from bench._upload_sides import Side
from bench._upload_targets import Target, on_sink
from uploader.tree.errors import ManifestUnusable
from uploader.tree.reader import Reader
from uploader.tree.sample import Sample
from uploader.tree.sizes import Sizes
from uploader.tree.states import FileState

FILES = int(os.environ.get("FILES", "1000000"))
SENT = int(os.environ.get("SENT", "50000"))
LINKS = 50  # to a file, as bench/scan.py has them
RATE_BAR, PEAK_BAR, GROWTH_BAR = 50_000, 150_000_000, 1.25
LIMIT_SECONDS = 240.0
EVERY_SECONDS = 0.1
INTERRUPTED = 130


@dataclass(slots=True, kw_only=True)
class Sending:
    """What one run came to, in seconds from exec.

    :ivar sent_by_then: files that were there when the scan had ended.
    """

    files: int
    scan_seconds: float = 0.0
    sent_seconds: float = 0.0
    sent_by_then: int = 0
    peak_bytes: int = 0
    cpu_seconds: float = 0.0


def main() -> None:
    is_check = wants_check("a million files scanned, some of them sent meanwhile")
    with tempfile.TemporaryDirectory(prefix="bench-tree-") as folder, on_sink(large_bytes=0) as target:
        tenth, whole = (_sent(target, Path(folder), files) for files in (FILES // 10, FILES))
    _print(tenth, whole)
    print_conditions("aiohttp", "httptools", "uvloop", tree=f"{LINKS} hard links to a file of 0 to 4 KiB", disk=folder)
    rate = whole.files / whole.scan_seconds
    print(f"RESULT tree-scan ratio={rate / RATE_BAR:.2f} bar=1.00")
    print("lower is better in the others: the bar is the most that it may be")
    peak, growth = whole.peak_bytes / PEAK_BAR, whole.peak_bytes / tenth.peak_bytes
    print(f"RESULT tree-peak ratio={peak:.2f} bar=1.00")
    print(f"RESULT tree-growth ratio={growth:.2f} bar={GROWTH_BAR:.2f}", flush=True)
    if is_check and (rate < RATE_BAR or peak > 1 or growth > GROWTH_BAR):
        sys.exit(1)


def _sent(target: Target, directory: Path, files: int) -> Sending:
    tree, state = directory / f"tree{files}", directory / f"state{files}"
    state.mkdir()
    Sample(files=files, depth=2, sizes=Sizes.parse("0-4KiB"), links=LINKS).make(tree)
    subprocess.run(["find", str(tree), "-type", "f", "-size", "+1G"], check=True)  # now every inode is in memory
    target.log.skip()
    ours = Side.ours()
    with (state / "errors").open("wb") as errors:
        began = time.time()
        process = subprocess.Popen(
            list(ours.argv(target, tree, f"tree-{files}")),
            env={"PATH": os.environ["PATH"], "HOME": str(state), **ours.environment(target, state)},
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            sending = _watched(process, target, state, files, began)
            process.send_signal(signal.SIGINT)
            code = process.wait(LIMIT_SECONDS)
        finally:
            process.kill()
    if code != INTERRUPTED:
        sys.exit(f"bench/tree.py: interrupted, it ended with {code}:\n{(state / 'errors').read_text()[-2_000:]}")
    _require_known(_manifest(state), files)
    target.forget()
    return sending


def _watched(process: "subprocess.Popen[bytes]", target: Target, state: Path, files: int, began: float) -> Sending:
    """Until everything is scanned, and enough of it sent."""
    sending, seen = Sending(files=files), psutil.Process(process.pid)
    while not (sending.scan_seconds and sending.sent_seconds):
        if process.poll() is not None or time.time() - began > LIMIT_SECONDS:
            words = (state / "errors").read_text()[-2_000:]
            sys.exit(
                f"bench/tree.py: it did not scan {files:,} files and send {SENT:,} (code {process.poll()}):\n{words}"
            )
        time.sleep(EVERY_SECONDS)  # nothing tells us
        sent, ended = target.log.objects(), _scan_ended(state)
        if ended and not sending.scan_seconds:
            sending.scan_seconds, sending.sent_by_then = ended - began, sent
        if sent >= SENT and not sending.sent_seconds:
            sending.sent_seconds = time.time() - began
        sending.peak_bytes, sending.cpu_seconds = _peak_bytes(process.pid), cpu_seconds(seen)
    return sending


def _scan_ended(state: Path) -> float | None:
    """When, in seconds since 1970, or None."""
    try:
        with Reader.open(_manifest(state)) as reader:
            ended = reader.about().scan_ended_ms
    except (FileNotFoundError, ManifestUnusable):  # not there yet
        return None
    return ended / 1_000 if ended else None


def _manifest(state: Path) -> Path:
    """:raises FileNotFoundError: there is none yet."""
    found = next(state.rglob("*.sqlite"), None)
    if found is None:
        raise FileNotFoundError
    return found


def _peak_bytes(pid: int) -> int:
    """Most of its memory so far; not what getrusage(2) says, in which a child begins with its parent's."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def _require_known(manifest: Path, files: int) -> None:
    """What was in flight is known as minted: the next run asks for it."""
    with Reader.open(manifest) as reader:
        counts = {state: count.files for state, count in reader.counts().items() if count.files}
    maybe_there = counts.get(FileState.SENT, 0) + counts.get(FileState.MINTED, 0)
    if sum(counts.values()) != files or maybe_there < SENT:
        sys.exit(f"bench/tree.py: {files:,} files, {SENT:,} of them sent; the manifest knows {counts}")


def _print(*sendings: Sending) -> None:
    table = Table(
        "files", "scanned after, s", "files/s", "sent by then", f"{SENT:,} sent after, s", "CPU, s", "peak, MB"
    )
    for each in sendings:
        table.add_row(
            f"{each.files:,}",
            f"{each.scan_seconds:.2f}",
            f"{each.files / each.scan_seconds:,.0f}",
            f"{each.sent_by_then:,}",
            f"{each.sent_seconds:.2f}",
            f"{each.cpu_seconds:.2f}",
            f"{each.peak_bytes / 1e6:.1f}",
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
