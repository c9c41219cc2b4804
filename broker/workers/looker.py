"""The looker: drains the schedule of due looks. Any number may run; a claim keeps them out of each other's way."""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import timedelta

from broker.domain.errors import BrokerError
from broker.ports import Bell, Clock, DueLook, Looking, Looks
from broker.workers.in_flight import InFlight
from broker.workers.rounds import rounds

_log = logging.getLogger("broker.looker")

HOLD = timedelta(seconds=30)  # longer than a HEAD with its retries; a dead looker's claims come back after this
# Another process, a poller, records hints without ringing our bell: soon after work there is more, perhaps.
SHORTEST_NAP, LONGEST_NAP = timedelta(milliseconds=50), timedelta(milliseconds=200)
CROWDED = timedelta(seconds=1)  # for what a slow store has no place for now


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
    _running: InFlight = field(default_factory=InFlight)
    _places: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    _nap: timedelta = SHORTEST_NAP

    async def run(self) -> None:
        try:
            await rounds(self._round, name="looker", log=_log)
        finally:
            await self._running.drain()

    async def _round(self) -> None:
        free = self.concurrency - len(self._running)
        claimed = await self.looks.claim(free, now=self.clock.now(), hold=HOLD) if free else []
        for due in claimed:
            self._running.start(self._take(due))
        if not free:
            await self._running.one_ends()
        elif claimed:
            self._nap = SHORTEST_NAP
        else:
            await self.due.wait(self._nap)
            self._nap = min(self._nap * 2, LONGEST_NAP)

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
