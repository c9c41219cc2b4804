"""Messages in hand whose subscription lends them for less than we may need them.

How long Pub/Sub lends is the subscription's own business, ten seconds at least ("Lease management"); nearly every batch
is done within milliseconds. So a batch costs a call more only when it is still in hand after half of that least time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from broker.domain.errors import BrokerError

_log = logging.getLogger("broker.pubsub")

LEAST = timedelta(seconds=10)  # Subscription, ackDeadlineSeconds: 10 to 600
TRIES = 3
PAUSE = timedelta(seconds=1)  # ours: three tries fit into the other half

Prolong = Callable[[Sequence[str], timedelta], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    left: set[str]
    timer: asyncio.TimerHandle


class Loans:
    """Makes a loan of `least` one of `whole`. Belongs to one event loop.

    :param prolong: makes the rest of a batch ours for so long from now.
    """

    def __init__(self, *, whole: timedelta, least: timedelta, prolong: Prolong) -> None:
        self._whole, self._least, self._prolong = whole, least, prolong
        self._batches: dict[str, _Batch] = {}
        self._calling: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many messages are in hand."""
        return len(self._batches)

    def begin(self, receipts: Iterable[str]) -> None:
        """They were lent just now."""
        left = set(receipts)
        delay, then = (self._least / 2, self._half_over) if self._whole > self._least else (self._whole, self._over)
        timer = asyncio.get_running_loop().call_later(delay.total_seconds(), then, left)
        self._batches.update(dict.fromkeys(left, _Batch(left=left, timer=timer)))

    def end(self, receipts: Iterable[str]) -> None:
        """They are done with, or given back."""
        for receipt in receipts:
            batch = self._batches.pop(receipt, None)
            if batch is None:
                continue
            batch.left.discard(receipt)
            if not batch.left:
                batch.timer.cancel()

    async def close(self) -> None:
        """What is in hand comes back by itself."""
        for batch in self._batches.values():
            batch.timer.cancel()
        self._batches.clear()
        for call in self._calling:
            call.cancel()
        await asyncio.gather(*self._calling, return_exceptions=True)

    def _over(self, left: set[str]) -> None:
        """Somebody else may have them now."""
        self.end(tuple(left))

    def _half_over(self, left: set[str]) -> None:
        call = asyncio.create_task(self._hold(left))
        self._calling.add(call)
        call.add_done_callback(self._calling.discard)

    async def _hold(self, left: set[str]) -> None:
        rest = self._whole - self._least / 2
        for _ in range(TRIES):
            if not left:
                return
            try:
                await self._prolong(tuple(left), rest)
                break
            except BrokerError as trouble:
                _log.warning("pubsub.not-prolonged", extra={"count": len(left), "code": trouble.code})
            await asyncio.sleep(PAUSE.total_seconds())
        await asyncio.sleep(rest.total_seconds())
        self._over(left)
