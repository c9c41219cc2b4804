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


class Chime:
    """One ring for several waiters, each with a bell of its own: who wakes first takes it from nobody."""

    def __init__(self) -> None:
        self._bells: list[LocalBell] = []

    def bell(self) -> LocalBell:
        """Another one, for one waiter as long as the process lives."""
        self._bells.append(LocalBell())
        return self._bells[-1]

    def ring(self) -> None:
        for bell in self._bells:
            bell.ring()
