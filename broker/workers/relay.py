"""The relay: carries events from the stream to webhooks. Any number may run; cursors and claims keep them apart.

Each webhook has loops, places, connections and a queue of its own, so that one that hangs, or that stumbles over
something, delays nobody else.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from broker.domain.errors import BrokerError
from broker.domain.webhooks import Webhook
from broker.ports import Bell, Clock, Deliveries, Delivery
from broker.services.tell import FanOut, Tell
from broker.workers.in_flight import InFlight
from broker.workers.rounds import rounds

_log = logging.getLogger("broker.relay")

IDLE = timedelta(milliseconds=250)  # another process settles without ringing our bell
MARGIN = timedelta(seconds=5)  # a claim outlives its POST by this; clocks of processes may differ by less
MOST = 50  # ours: claims at once; a result may have 64 KiB


@dataclass(slots=True, kw_only=True)
class Teller:
    """Tells one webhook all it wants to hear. Runs until cancelled.

    :param news: rings when something happened in this process.
    :param bell: for its own use: something is due.
    :param places: POSTs at once.
    """

    fan_out: FanOut
    tell: Tell
    deliveries: Deliveries
    clock: Clock
    shards: int
    news: Bell
    bell: Bell
    places: int
    _running: InFlight = field(default_factory=InFlight)
    _paused_until: datetime | None = None

    @property
    def webhook(self) -> Webhook:
        return self.tell.webhook

    async def run(self) -> None:
        feeding = asyncio.create_task(rounds(self._feed, name="relay", log=_log))
        try:
            await rounds(self._round, name="webhook", log=_log)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await self._running.drain()

    async def _feed(self) -> None:
        """From the stream into the queue, a page a shard."""
        pages = await asyncio.gather(*(self.fan_out(self.webhook, shard) for shard in range(self.shards)))
        if any(pages):
            self.bell.ring()
        else:
            await self.news.wait(IDLE)

    async def _round(self) -> None:
        now = self.clock.now()
        if self._paused_until and now < self._paused_until:
            await self.bell.wait(min(self._paused_until - now, IDLE))
            return
        free = self.places - len(self._running)
        hold = self.tell.timeout + MARGIN
        claimed = await self.deliveries.claim(self.webhook.name, min(free, MOST), now=now, hold=hold) if free else []
        for delivery in claimed:
            self._running.start(self._take(delivery))
        if not free:
            await self._running.one_ends()
        elif not claimed:
            await self.bell.wait(IDLE)

    async def _take(self, delivery: Delivery) -> None:
        """One delivery; whatever goes wrong, the claim runs out and it comes back."""
        extra = {"webhook": self.webhook.name, "session_id": delivery.id}
        try:
            told = await self.tell(delivery)
        except BrokerError as trouble:
            _log.warning("webhook.unsettled", extra={**extra, "code": trouble.code})
        except Exception:
            _log.exception("webhook.stumbled", extra=extra)
        else:
            if told.pause:
                self._paused_until = self.clock.now() + told.pause
                seconds = told.pause.total_seconds()
                _log.warning("webhook.paused", extra={"webhook": self.webhook.name, "seconds": seconds})
            if told.has_next:
                self.bell.ring()


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """All tellers of a process. Runs until cancelled, also where no webhook is configured."""

    tellers: Sequence[Teller]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for teller in self.tellers:
                group.create_task(teller.run())
            await asyncio.Event().wait()
