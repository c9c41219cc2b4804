"""The looker: drains the schedule of due looks. Any number may run; a claim keeps them out of each other's way."""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import timedelta

from broker.domain.errors import BrokerError
from broker.ports import Bell, Clock, DueLook, Looking, Looks

_log = logging.getLogger("broker.looker")

HOLD = timedelta(seconds=30)  # longer than a HEAD with its retries; a dead looker's claims come back after this
IDLE = timedelta(milliseconds=200)  # another process records hints without ringing our bell
LONGEST_BACKOFF = timedelta(seconds=2)
CROWDED = timedelta(seconds=1)  # for what a slow store has no place for now
DRAIN = timedelta(seconds=2)  # cut off, a look comes back only after HOLD; most end within milliseconds


@dataclass(slots=True, kw_only=True)
class Looker:
    """Runs until cancelled.

    :param stores: how many destinations there are to keep apart.
    :param concurrency: looks at once, over all destinations of this process.
    :param per_destination: HEADs at once to one store, so that a slow one does not take all places.
    """

    looks: Looks
    look: Looking
    stores: int
    clock: Clock
    due: Bell
    concurrency: int = 128
    per_destination: int = 64
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _places: dict[str, asyncio.Semaphore] = field(default_factory=dict)

    async def run(self) -> None:
        backoff = IDLE
        try:
            while True:
                try:
                    await self._round()
                    backoff = IDLE
                except BrokerError as trouble:
                    _log.warning("looker.waiting", extra={"code": trouble.code})
                    await asyncio.sleep(backoff.total_seconds())
                    backoff = min(backoff * 2, LONGEST_BACKOFF)
                except Exception:
                    _log.exception("looker.stumbled")
                    await asyncio.sleep(backoff.total_seconds())
                    backoff = min(backoff * 2, LONGEST_BACKOFF)
        finally:
            await self._drain()

    async def _round(self) -> None:
        free = self.concurrency - len(self._running)
        claimed = await self.looks.claim(free, now=self.clock.now(), hold=HOLD) if free else []
        for due in claimed:
            task = asyncio.create_task(self._take(due))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if not free:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        elif not claimed:
            await self.due.wait(IDLE)

    async def _take(self, due: DueLook) -> None:
        """One look; whatever goes wrong, the claim runs out and the look comes back."""
        places = self._places.setdefault(due.destination, asyncio.Semaphore(self.per_destination))
        try:
            if places.locked() and self.stores > 1:  # waiting, it would keep looks at other stores out
                await self.looks.postpone(due, self.clock.now() + CROWDED)
                return
            async with places:
                await self.look(due)
        except BrokerError as trouble:
            _log.warning("look.failed", extra={"session_id": due.id, "code": trouble.code})
        except Exception:
            _log.exception("look.stumbled", extra={"session_id": due.id})

    async def _drain(self) -> None:
        """Lets looks end that are on their way, then cuts them off."""
        running = [*self._running]
        try:
            if running:
                await asyncio.wait(running, timeout=DRAIN.total_seconds())
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
