"""The twin of `RedisWebhooks` in plain dicts, beside the ledger's own. Nothing of it ends by itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from broker.domain.webhooks import Attempt
from broker.ledger.records import milliseconds, moment
from broker.ports import Delivery, Event, Events, Sessions


@dataclass(frozen=True, slots=True)
class _Entry:
    cursor: str
    since: int
    attempts: int = 0
    claimed_until: int = 0


@dataclass(slots=True)
class _Told:
    """One webhook in one shard."""

    due: dict[str, int] = field(default_factory=dict)
    pending: dict[str, list[_Entry]] = field(default_factory=dict)
    log: list[Attempt] = field(default_factory=list)

    def remember(self, session_id: str, entry: _Entry) -> bool:
        known = self.pending.setdefault(session_id, [])
        if any(other.cursor == entry.cursor for other in known):
            return False
        known.append(entry)
        known.sort(key=lambda other: position(other.cursor))
        return True


class MemoryWebhooks:
    """`Outbox`, `Deliveries` and `DeliveryLog`.

    :param cursors: of each shard, from a reader's name to where it stands; the ledger trims no further.
    """

    def __init__(self, events: Events, sessions: Sessions, cursors: Sequence[dict[str, str]]) -> None:
        self._events, self._sessions, self._cursors = events, sessions, cursors
        self._told: list[dict[str, _Told]] = [{} for _ in cursors]
        self._turn = 0

    # --- Outbox

    async def cursor(self, shard: int, webhook: str) -> str:
        if webhook not in self._cursors[shard]:
            newest = [event.cursor async for event in self._events.read(shard)][-1:]
            self._cursors[shard][webhook] = newest[0] if newest else "0-0"
        return self._cursors[shard][webhook]

    async def fan_out(
        self, shard: int, webhook: str, events: Sequence[Event], *, after: str, to: str, now: datetime
    ) -> bool:
        if self._cursors[shard].get(webhook) != after:
            return False
        self._cursors[shard][webhook] = to
        told = self._of(shard, webhook)
        for event in events:
            told.remember(event.id, _Entry(event.cursor, milliseconds(event.at)))
            told.due.setdefault(event.id, milliseconds(now))
        return True

    # --- Deliveries

    async def claim(self, webhook: str, limit: int, *, now: datetime, hold: timedelta) -> list[Delivery]:
        claimed: list[Delivery] = []
        self._turn = (self._turn + 1) % len(self._told)
        shards = [*range(len(self._told))]
        for shard in shards[self._turn :] + shards[: self._turn]:
            due = self._told[shard].get(webhook, _Told()).due
            ripe = sorted((score, session_id) for session_id, score in due.items() if score <= milliseconds(now))
            for _, session_id in ripe[: limit - len(claimed)]:
                claimed.append(await self._claim(shard, webhook, session_id, now + hold))
        return claimed

    async def settle(self, delivery: Delivery, attempt: Attempt, *, again_at: datetime | None) -> bool:
        told = self._of(int(delivery.id[:2], 16), delivery.webhook)
        told.log.append(attempt)
        entries = told.pending.get(delivery.id, [])
        known = [entry for entry in entries if entry.cursor == delivery.cursor]
        is_holder = any(_is_claim(entry, delivery) for entry in known)
        if again_at is not None:
            if is_holder:
                entries[entries.index(known[0])] = replace(known[0], claimed_until=0)
                told.due[delivery.id] = milliseconds(again_at)
            return False
        left = told.pending[delivery.id] = [entry for entry in entries if entry not in known]
        if not left:
            del told.pending[delivery.id]
            told.due.pop(delivery.id, None)
            return False
        if (known and not is_holder) or left[0].claimed_until:
            return False
        told.due[delivery.id] = milliseconds(attempt.at)
        return True

    # --- DeliveryLog

    async def attempts(self, webhook: str) -> list[Attempt]:
        found = [attempt for told in self._told for attempt in told.get(webhook, _Told()).log]
        return sorted(found, key=lambda attempt: attempt.at)

    async def replay(self, shard: int, webhook: str, events: Sequence[Event], *, now: datetime) -> int:
        told, added, score = self._of(shard, webhook), 0, milliseconds(now)
        for event in events:
            added += told.remember(event.id, _Entry(event.cursor, score))
            if not any(entry.claimed_until > score for entry in told.pending[event.id]):
                told.due[event.id] = score
        return added

    async def waiting(self) -> dict[str, int]:
        names = {name for cursors in self._cursors for name in cursors}
        return {name: sum(len(told.get(name, _Told()).due) for told in self._told) for name in names}

    async def forget(self, webhook: str) -> bool:
        parts: list[dict[str, object]] = [*self._cursors, *self._told]  # type: ignore[list-item]
        return any([part.pop(webhook, None) for part in parts])  # noqa: C419 - of every shard

    # --- within

    def _of(self, shard: int, webhook: str) -> _Told:
        return self._told[shard].setdefault(webhook, _Told())

    async def _claim(self, shard: int, webhook: str, session_id: str, until: datetime) -> Delivery:
        told = self._of(shard, webhook)
        first = told.pending[session_id][0]
        entry = replace(first, attempts=first.attempts + 1, claimed_until=milliseconds(until))
        told.pending[session_id][0] = entry
        told.due[session_id] = milliseconds(until)
        ms, number = position(entry.cursor)
        events = [event async for event in self._events.read(shard, f"{ms}-{number - 1}")][:1]
        return Delivery(
            webhook=webhook,
            id=session_id,
            cursor=entry.cursor,
            attempt=entry.attempts,
            since=moment(entry.since),
            until=moment(entry.claimed_until),
            event=events[0] if events and events[0].cursor == entry.cursor else None,
            session=await self._sessions.get(session_id),
        )


def position(cursor: str) -> tuple[int, int]:
    """For comparing. A bare moment stands before everything of that moment."""
    ms, _, number = cursor.partition("-")
    return int(ms), int(number or 0)


def _is_claim(entry: _Entry, delivery: Delivery) -> bool:
    claim = (delivery.cursor, delivery.attempt, milliseconds(delivery.until))
    return (entry.cursor, entry.attempts, entry.claimed_until) == claim
