"""Many small calls at once, but not more than a store or a ledger likes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from broker.domain.errors import Unavailable

T = TypeVar("T")


async def at_once(limit: int, acts: Iterable[Callable[[], Awaitable[T]]]) -> list[T | Unavailable]:
    """What each came to, in order; trouble with the world outside is an answer, too. Anything else ends them all."""
    gate = asyncio.Semaphore(limit)

    async def one(act: Callable[[], Awaitable[T]]) -> T | Unavailable:
        async with gate:
            try:
                return await act()
            except Unavailable as trouble:
                return trouble

    tasks = [asyncio.create_task(one(act)) for act in acts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
