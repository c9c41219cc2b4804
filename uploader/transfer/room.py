"""Room that many share: files on their way, bytes of bodies in memory."""

import asyncio
from collections import deque


class Room:
    """Whoever takes some waits until there is enough, in the order in which they came."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.left = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, amount: int) -> None:
        """More than the whole is the whole, so that nobody waits for ever."""
        amount = min(amount, self.size)
        if not self._waiting and amount <= self.left:
            self.left -= amount
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(amount)
            raise

    def give(self, amount: int) -> None:
        self.left += min(amount, self.size)
        while self._waiting:
            wanted, turn = self._waiting[0]
            if turn.cancelled():
                self._waiting.popleft()
            elif wanted <= self.left:
                self._waiting.popleft()
                self.left -= wanted
                turn.set_result(None)
            else:
                break
