"""The signed requests for the parts of one session, asked for a page at a time and ahead of those who send.

A page is small although a call may ask for 1,000: a request that waits for hours has expired when its turn comes.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from broker.contract import PartRequest
from uploader.errors import Unreachable
from uploader.sender import EXPIRY_MARGIN

PAGE = 128  # ours: of 16 MiB each, what a fast line takes in a few seconds; the broker's own limit is 1,000
LOW = PAGE // 2  # ours: the next page is on its way while so many are left

Ask = Callable[[Sequence[int]], Awaitable[list[PartRequest]]]


@dataclass(frozen=True, slots=True)
class Granted:
    """A request, and when its page came."""

    part: PartRequest
    came_at: float
    seemed_alive: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seemed_alive", _is_alive(self.part))

    @property
    def has_expired(self) -> bool:
        """With a clock that is fast every request seems dead on arrival: such ones are for the store to judge."""
        return self.seemed_alive and not _is_alive(self.part)


class Grants:
    """Hands out each of the parts once, in order. Any number of senders may ask at a time.

    :param first: requests that came with the session; those for other parts are left aside.
    """

    def __init__(self, ask: Ask, numbers: Sequence[int], first: Iterable[PartRequest] = ()) -> None:
        self._ask = ask
        wanted = set(numbers)
        self._ready = deque(_granted(part for part in first if part.number in wanted))
        come = {granted.part.number for granted in self._ready}
        self._todo = deque(number for number in numbers if number not in come)
        self._asking = asyncio.Lock()

    async def next(self) -> Granted | None:
        """A request that is worth sending, or None when every part was handed out."""
        self._shed()
        if len(self._ready) <= LOW and self._todo and not self._asking.locked():
            await self._refill()
        while not self._ready and (self._todo or self._asking.locked()):
            await self._refill()
        return self._ready.popleft() if self._ready else None

    async def renew(self, refused: Granted) -> Granted:
        """Another request for the same part. Those that came before the refused one are not trusted any more either."""
        self._put_back(granted for granted in self._ready if granted.came_at <= refused.came_at)
        (granted,) = await self._get([refused.part.number])
        return granted

    async def _refill(self) -> None:
        async with self._asking:
            if len(self._ready) > LOW or not self._todo:
                return
            numbers = [self._todo.popleft() for _ in range(min(PAGE, len(self._todo)))]
            self._ready.extend(await self._get(numbers))

    async def _get(self, numbers: Sequence[int]) -> list[Granted]:
        parts = await self._ask(numbers)
        if [part.number for part in parts] != list(numbers):
            raise Unreachable("the broker's answer holds other parts than were asked for")
        return _granted(parts)

    def _shed(self) -> None:
        self._put_back(granted for granted in self._ready if granted.has_expired)

    def _put_back(self, useless: Iterable[Granted]) -> None:
        gone = list(useless)
        for granted in gone:
            self._ready.remove(granted)
        self._todo.extendleft(granted.part.number for granted in reversed(gone))


def _granted(page: Iterable[PartRequest]) -> list[Granted]:
    now = time.monotonic()
    return [Granted(part, now) for part in page]


def _is_alive(part: PartRequest) -> bool:
    return part.request.expires_at - datetime.now(UTC) >= EXPIRY_MARGIN
