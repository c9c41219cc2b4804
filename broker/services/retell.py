"""Retell: an operator has a webhook told again what it was told before, or never heard."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from broker.domain.keys import shard_of
from broker.domain.webhooks import Webhook
from broker.ports import Clock, DeliveryLog, Event, Events
from broker.services.tell import PAGE, FanOut

_UNIX_MS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Retold:
    """How many events will be told, and how many of them were waiting anyway."""

    events: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retell:
    """Events are kept for a week; what is told again carries the `webhook-id` that it had."""

    events: Events
    log: DeliveryLog
    fan_out: FanOut
    clock: Clock
    shards: int

    async def session(self, webhook: Webhook, session_id: str) -> Retold:
        """All that happened to one session; nothing where there is none such."""
        shard = int(shard_of(session_id), 16)
        if shard >= self.shards:
            return Retold()
        return await self._retell(webhook, shard, "0-0", lambda event: event.id == session_id)

    async def since(self, webhook: Webhook, moment: datetime) -> Retold:
        first = int(moment.timestamp() * _UNIX_MS)
        parts = [
            await self._retell(webhook, shard, f"{first - 1}-0", lambda event: _recorded_at(event.cursor) >= first)
            for shard in range(self.shards)
        ]
        return _sum(parts)

    async def given_up(self, webhook: Webhook) -> Retold:
        """Whatever the log knows as given up, and not as delivered since."""
        last = {attempt.webhook_id: attempt for attempt in await self.log.attempts(webhook.name)}
        wanted = {(one.session_id, one.cursor) for one in last.values() if one.outcome == "given-up"}
        parts = []
        for shard in range(self.shards):
            cursors = [_recorded_at(cursor) for session_id, cursor in wanted if int(session_id[:2], 16) == shard]
            if cursors:
                after = f"{min(cursors) - 1}-0"
                parts.append(
                    await self._retell(webhook, shard, after, lambda event: (event.id, event.cursor) in wanted)
                )
        return _sum(parts)

    async def _retell(self, webhook: Webhook, shard: int, after: str, is_meant: Callable[[Event], bool]) -> Retold:
        told, page = Retold(), list[Event]()
        async for event in self.events.read(shard, after):
            if is_meant(event):
                page.append(event)
            if len(page) == PAGE:
                told, page = _sum([told, await self._replay(webhook, shard, page)]), []
        return _sum([told, await self._replay(webhook, shard, page)])

    async def _replay(self, webhook: Webhook, shard: int, page: list[Event]) -> Retold:
        wanted = await self.fan_out.wanted(webhook, page)
        added = await self.log.replay(shard, webhook.name, wanted, now=self.clock.now()) if wanted else 0
        return Retold(events=len(wanted), waiting=len(wanted) - added)


def _recorded_at(cursor: str) -> int:
    return int(cursor.partition("-")[0])


def _sum(parts: list[Retold]) -> Retold:
    return Retold(events=sum(part.events for part in parts), waiting=sum(part.waiting for part in parts))
