"""Work side by side that ends together."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

T = TypeVar("T")


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All of it, or the first thing that went wrong, after the rest was stopped and waited for."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def few_at_a_time(job: Callable[[T], Awaitable[None]], items: AsyncGenerator[T, None], jobs: int) -> None:
    """The job for each item, so many at a time and hardly more items ahead. The first that raises ends it all."""
    queue: asyncio.Queue[T | _End] = asyncio.Queue(jobs)

    async def bring() -> None:
        async with aclosing(items):
            async for item in items:
                await queue.put(item)
        await queue.put(_End())

    async def work() -> None:
        while not isinstance(item := await queue.get(), _End):
            await job(item)
        await queue.put(item)  # for the next of us

    await together([bring(), *(work() for _ in range(jobs))])


class _End:
    """There are no more."""
