"""What one loop has under way."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

DRAIN = timedelta(seconds=2)  # what is cut off comes back when its claim runs out; most end within milliseconds


class InFlight:
    """Tasks that end by themselves; their loop starts no more than it has places for."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def one_ends(self) -> None:
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def drain(self, within: timedelta = DRAIN) -> None:
        """Lets end what is on its way, then cuts it off."""
        running = [*self._tasks]
        try:
            if running:
                await asyncio.wait(running, timeout=within.total_seconds())
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
