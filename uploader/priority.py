"""Less CPU and I/O for a long upload when somebody else wants them; all of it when nobody does.

nice(2), and on Linux ioprio_set(2), the lowest of the best-effort class: `idle` would stop an upload on a disk that is
never quiet. Both belong to a thread on Linux and are inherited by the threads and processes that it starts, so this
comes before any of them. An ordinary user cannot take it back.
"""

import os
import platform
import sys
from contextlib import suppress
from dataclasses import dataclass

NICE = 10  # ours: a tenth of the CPU beside one busy process, as its weight has it (sched(7))
CLASS_SHIFT = 13  # ioprio_set(2): the class in the upper three of 16 bits, in the others a level, 0 to 7
IDLE = 3
BEST_EFFORT_LOWEST = (2 << CLASS_SHIFT) | 7
WHO_PROCESS = 1
SET, GET = 0, 1

IOPRIO_SET = {  # its number in the system call table of each architecture, ioprio_get's is the next; libc has neither
    "x86_64": 251,
    "aarch64": 30,
    "riscv64": 30,
    "loongarch64": 30,
    "ppc64le": 273,
    "s390x": 282,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Priority:
    """
    :ivar nice: -20 to 19.
    :ivar has_low_io: the disks serve others first.
    """

    nice: int
    has_low_io: bool = False

    def __str__(self) -> str:
        return f"nice {self.nice}, {'low' if self.has_low_io else 'usual'} I/O priority"


def current() -> Priority:
    """What this thread has."""
    io = _ioprio(GET, WHO_PROCESS, 0)
    is_idle = io >> CLASS_SHIFT == IDLE
    return Priority(nice=os.getpriority(os.PRIO_PROCESS, 0), has_low_io=is_idle or io == BEST_EFFORT_LOWEST)


def lower() -> Priority:
    """What the whole process has from now on; whoever has been nicer before stays so."""
    with suppress(OSError):
        os.nice(max(0, NICE - os.getpriority(os.PRIO_PROCESS, 0)))
    if not current().has_low_io:
        _ioprio(SET, WHO_PROCESS, 0, BEST_EFFORT_LOWEST)
    return current()


def _ioprio(call: int, *arguments: int) -> int:
    """Negative where the system has no such call, or does not allow it (a container's seccomp profile)."""
    number = IOPRIO_SET.get(platform.machine())
    if sys.platform != "linux" or number is None or sys.maxsize < 1 << 32:  # a 32-bit process has another table
        return -1
    import ctypes  # noqa: PLC0415 - milliseconds that others need not pay

    return int(ctypes.CDLL(None).syscall(number + call, *arguments))
