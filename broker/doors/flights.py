"""Questions that many have at the same moment, asked once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """What is being asked, by name."""

    def __init__(self) -> None:
        self._asking: dict[str, asyncio.Task[T]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._asking

    async def join(self, name: str, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Joins whoever asks already. Shielded: the answer is for all who wait, not for the first alone."""
        asking = self._asking.get(name)
        if asking is None:
            asking = self._asking[name] = asyncio.create_task(ask())
            asking.add_done_callback(lambda task: self._over(name, task))
        return await asyncio.shield(asking)

    async def land(self) -> None:
        """Waits until nothing is asked any more, whatever the answers are."""
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def _over(self, name: str, task: asyncio.Task[T]) -> None:
        del self._asking[name]
        if not task.cancelled():
            task.exception()  # seen, even if everybody has gone meanwhile
