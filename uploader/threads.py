"""Blocking work off the loop, with an end that is waited for: what a thread reads from must outlive the thread."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Closable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=Closable)


async def in_thread(
    executor: Executor, stop: Callable[[], None], job: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run the job in a thread. If the caller is cancelled, stop it and wait until it has ended.

    :param stop: makes the job end soon; called on the loop.
    """
    running = asyncio.get_running_loop().run_in_executor(executor, lambda: job(*args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop()
        await _end_of(running)
        raise


async def opened(executor: Executor, job: Callable[P, C], *args: P.args, **kwargs: P.kwargs) -> C:
    """What a short job in a thread opens. If the caller is cancelled meanwhile, it is closed again."""
    running = asyncio.get_running_loop().run_in_executor(executor, lambda: job(*args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await _end_of(running)
        if running.exception() is None:
            running.result().close()
        raise


async def _end_of(running: asyncio.Future[T]) -> None:
    """Until the thread has ended, however often the caller is cancelled meanwhile: he would leave it what he closes."""
    while not running.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([running])
    running.exception()  # it is told to nobody: the caller has gone


def ends_by_itself() -> None:
    """For a job that is short enough."""
