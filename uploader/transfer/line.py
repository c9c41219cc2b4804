"""A line of things to do, for a fixed number of workers."""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Line(Generic[T]):
    """First in, first out. Whoever puts many in at once wakes as many as are needed for them."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, items: Iterable[T]) -> None:
        """After the end of the line nothing comes of it."""
        if self._is_closed:
            return
        before = len(self._items)
        self._items.extend(items)
        self._wake(len(self._items) - before)

    async def get(self) -> T | None:
        """The next one, or None at the end of the line."""
        while not self._items:
            if self._is_closed:
                return None
            turn = asyncio.get_running_loop().create_future()
            self._idle.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._wake(1)  # what it was woken for is somebody else's now
                raise
        return self._items.popleft()

    def drain(self, limit: int) -> list[T]:
        """What can be had at once."""
        return [self._items.popleft() for _ in range(min(limit, len(self._items)))]

    def close(self) -> list[T]:
        """Everybody goes home. What nobody has taken."""
        self._is_closed = True
        self._wake(len(self._idle))
        return self.drain(len(self._items))

    def _wake(self, number: int) -> None:
        while number and self._idle:
            turn = self._idle.popleft()
            if not turn.done():
                turn.set_result(None)
                number -= 1
