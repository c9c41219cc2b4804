"""In processes of their own: an ordinary user cannot take a priority back."""

import platform
import subprocess
import sys

import pytest

from uploader.priority import IOPRIO_SET

SCRIPT = """
import ctypes, os, sys, threading
from uploader.priority import current, lower

os.nice(int(sys.argv[1]))
said = lower()
found = []

def look():
    io = ctypes.CDLL(None).syscall(int(sys.argv[2]), 1, 0) if int(sys.argv[2]) else 0
    found.append((os.getpriority(os.PRIO_PROCESS, 0), io))

look()
thread = threading.Thread(target=look)
thread.start()
thread.join()
assert said == current()
print(said, *found, sep="|")
"""


def run(nice: int, ioprio_get: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(nice), str(ioprio_get)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip().split("|")


linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in IOPRIO_SET, reason="its system calls are not known here"
)


@linux
def test_the_process_and_its_threads_step_back() -> None:
    said, own, threads = run(0, IOPRIO_SET[platform.machine()] + 1)  # ioprio_get stands behind it in every table
    assert said == "nice 10, low I/O priority"
    assert own == threads == f"(10, {(2 << 13) | 7})"


def test_who_is_nicer_already_stays_so() -> None:
    said, own, _ = run(15, 0)
    assert said.startswith("nice 15, ")
    assert own == "(15, 0)"
