"""What Linux lets a process forbid itself (prctl(2)). Elsewhere these do nothing: the isolation is weaker there."""

import ctypes
import os
import signal
import sys

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


def die_with(parent: int) -> None:
    """This process is killed when the thread that started it ends; at once if that happened already."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        sys.exit("the worker that started this process is gone")


def hide_memory() -> None:
    """No process of the same user may read this one's memory, first environment or open files; no core is dumped."""
    _prctl(_PR_SET_DUMPABLE, 0)


def gain_nothing() -> None:
    """Neither this process nor what it starts gains a privilege by running a set-user-id program."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)
