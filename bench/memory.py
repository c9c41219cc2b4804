"""Peak memory of every process while one 4 GiB object goes through the whole loop.

`python bench/memory.py [--check]`; `SIZE_GIB=1` makes it shorter. There is no peer: the bar is 150 MB a process, and
the ratio is the bar over the largest peak. A process counts with its children, such as a consumer's pool.
"""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
from rich.console import Console
from rich.table import Table

from bench._harness import print_conditions, report, wants_check
from broker.dev.stack import Stack, StackOptions, start_stack

SIZE_GIB = int(os.environ.get("SIZE_GIB", "4"))
BAR_BYTES = 150_000_000
SAMPLE_SECONDS = 0.1


def main() -> None:
    is_check = wants_check(__doc__ or "")
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as folder:
        directory = Path(folder)
        stack = start_stack(StackOptions(directory=directory / "dev"))
        try:
            peaks = _through(stack, _random_file(directory / "large.bin"))
        finally:
            stack.stop()
    table = Table("process", "peak RSS, MB", title=f"one object of {SIZE_GIB} GiB: upload, verify, lease, read, result")
    for name, peak in peaks.items():
        table.add_row(name, f"{peak / 1e6:,.1f}")
    Console(width=110).print(table)
    print_conditions("aiohttp", "litestar", "msgspec", durability="appendfsync everysec")
    report("memory", ratio=BAR_BYTES / max(peaks.values()), bar=1.0, is_check=is_check)


def _random_file(path: Path) -> Path:
    """One random MiB over and over: nothing on the way compresses or looks back."""
    chunk = os.urandom(2**20)
    with path.open("wb") as file:
        for _ in range(SIZE_GIB * 1024):
            file.write(chunk)
    return path


def _through(stack: Stack, path: Path) -> dict[str, int]:
    env = dict(os.environ, BROKER_URL=stack.about.broker, BROKER_API_KEY=stack.about.api_key)
    argv = [sys.executable, "-m", "uploader", "put", str(path), "--wait", "processed", "--timeout", "900"]
    done = threading.Event()
    with subprocess.Popen(argv, env=env) as uploader:
        watched = {
            "broker (API and looker)": stack.broker.process,
            "consumer": stack.consumers[0].process,
            "uploader": uploader,
            "emulator": stack.store.process,
        }
        peaks = dict.fromkeys(watched, 0)
        pids = {name: process.pid for name, process in watched.items() if process is not None}
        watcher = threading.Thread(target=_watch, args=(pids, peaks, done))
        watcher.start()
        status = uploader.wait()
        done.set()
        watcher.join()
    if status:
        sys.exit(f"the upload failed with exit code {status}")
    return peaks


def _watch(pids: dict[str, int], peaks: dict[str, int], done: threading.Event) -> None:
    while not done.wait(SAMPLE_SECONDS):
        for name, pid in pids.items():
            peaks[name] = max(peaks[name], _resident(pid))


def _resident(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(member.memory_info().rss for member in family)
    except psutil.NoSuchProcess:
        return 0


if __name__ == "__main__":
    main()
