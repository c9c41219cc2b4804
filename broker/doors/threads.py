"""Threads for calls that wait: a few of their own, so that they take none of those that resolve names or credentials.

Unlike those of `ThreadPoolExecutor`, for which the interpreter waits when it ends, these keep no process from ending: a
long poll that nobody waits for any more is simply over.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from threading import Lock, Semaphore, Thread
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class DaemonThreads(Executor):
    """At most `limit` threads, each made when it is first needed; what comes beyond waits for one."""

    def __init__(self, limit: int, name: str) -> None:
        self._limit, self._name = limit, name
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._idle = Semaphore(0)
        self._starting = Lock()
        self._count = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        self._work.put((future, lambda: fn(*args, **kwargs)))
        if not self._idle.acquire(blocking=False):
            self._start_one()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - nobody is waited for
        for _ in range(self._count):
            self._work.put(None)

    def _start_one(self) -> None:
        with self._starting:
            if self._count == self._limit:
                return
            self._count += 1
        Thread(target=self._serve, name=f"{self._name}-{self._count}", daemon=True).start()

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            future, call = work
            if future.set_running_or_notify_cancel():
                _settle(future, call)
            del future, call, work  # what it answered is nobody's here
            self._idle.release()


def _settle(future: Future[Any], call: Callable[[], Any]) -> None:
    try:
        answer = call()
    except BaseException as exc:
        future.set_exception(exc)
    else:
        future.set_result(answer)
