"""A bell for the tasks of one event loop."""

import asyncio
from datetime import timedelta


class LocalBell:
    """Rings for whoever waits now; a ring that nobody waits for is remembered for the next one."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        self._event.set()

    async def wait(self, timeout: timedelta) -> None:
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()
