"""Threads of their own: few, and none that keeps a process."""

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import wait

import pytest

from broker.doors.threads import DaemonThreads

SOON = 10


def test_no_more_run_at_once_than_there_may_be_and_all_get_their_turn() -> None:
    threads, lock = DaemonThreads(3, "few"), threading.Lock()
    running, most, together = 0, 0, threading.Barrier(3, timeout=SOON)

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if number < 3:
            together.wait()  # three do run side by side
        with lock:
            running -= 1
        return number

    futures = [threads.submit(work, number) for number in range(50)]
    assert [future.result(SOON) for future in futures] == list(range(50))
    assert most == 3
    assert sum(thread.name.startswith("few-") for thread in threading.enumerate()) == 3
    threads.shutdown()


def test_a_thread_that_is_free_is_taken_before_another_is_made() -> None:
    threads = DaemonThreads(8, "one")
    for _ in range(20):
        wait([threads.submit(threading.get_ident)], SOON)
        wait([threads.submit(threading.get_ident)], SOON)
    assert sum(thread.name.startswith("one-") for thread in threading.enumerate()) <= 2
    threads.shutdown()


def test_what_goes_wrong_is_raised_where_it_is_awaited_and_the_thread_goes_on() -> None:
    threads = DaemonThreads(1, "sturdy")
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 // 0).result(SOON)
    assert threads.submit(lambda: 7).result(SOON) == 7
    threads.shutdown()


async def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    threads, gate, begun = DaemonThreads(1, "busy"), threading.Event(), []
    loop = asyncio.get_running_loop()
    first = loop.run_in_executor(threads, gate.wait, SOON)
    second = loop.run_in_executor(threads, begun.append, "second")
    second.cancel()
    await asyncio.sleep(0)  # the loop tells the thread's side of it in its next turn
    gate.set()
    async with asyncio.timeout(SOON):
        await first
        await loop.run_in_executor(threads, begun.append, "third")
    assert begun == ["third"]
    threads.shutdown()


def test_a_call_that_never_ends_keeps_no_process() -> None:
    """A long poll is such a call, for twenty seconds."""
    script = (
        "import threading\nfrom broker.doors.threads import DaemonThreads\n"
        "begun = threading.Event()\n"
        "DaemonThreads(1, 'x').submit(lambda: (begun.set(), threading.Event().wait()))\n"
        "begun.wait()\nprint('bye')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "bye\n", "")
