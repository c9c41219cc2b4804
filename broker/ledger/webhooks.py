"""Webhooks on Redis: cursors, what must still be told, and the log of what was.

Per shard `cursors:{NN}` is a hash from a reader's name to the last stream id that it has passed; `event.lua` trims no
further. Per webhook `hooks:{NN}:WEBHOOK` is a sorted set, when each session's next attempt is due,
`hook:{NN}:WEBHOOK` a hash, what each must still be told (`pending.lua`), and `told:{NN}:WEBHOOK` a stream, the log.
Queues that nobody touches for a week go by themselves.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from broker.domain.errors import LedgerUnavailable
from broker.domain.webhooks import Attempt
from broker.ledger import scripts
from broker.ledger.records import decode, event_in, milliseconds, moment
from broker.ledger.troubles import FOREIGN, translated
from broker.ledger.wire import Reply, Script, Wire, Word
from broker.ports import Delivery, Event

_log = logging.getLogger("broker.ledger")

KEPT_MS = 7 * 86_400_000  # ours: as long as the events that they name
LOG_KEPT_MS = 30 * 86_400_000  # ours: of a webhook that nobody told anything for a month
LOG_LENGTH = 10_000  # ours: entries of one webhook, over all shards
PAGE = 500  # ours: no other client waits long for it

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Attempt).decode


@dataclass(frozen=True, slots=True)
class _Place:
    """Key names of one shard, and of one webhook there."""

    tag: str
    webhook: str

    @property
    def cursors(self) -> str:
        return f"cursors:{{{self.tag}}}"

    @property
    def events(self) -> str:
        return f"events:{{{self.tag}}}"

    @property
    def session(self) -> str:
        return f"session:{{{self.tag}}}:"

    @property
    def due(self) -> str:
        return f"hooks:{{{self.tag}}}:{self.webhook}"

    @property
    def pending(self) -> str:
        return f"hook:{{{self.tag}}}:{self.webhook}"

    @property
    def log(self) -> str:
        return f"told:{{{self.tag}}}:{self.webhook}"


class RedisWebhooks:
    """`Outbox`, `Deliveries` and `DeliveryLog`."""

    def __init__(self, wire: Wire, shards: int) -> None:
        self._wire = wire
        self._shards = shards
        self._turn = 0

    # --- Outbox

    async def cursor(self, shard: int, webhook: str) -> str:
        place = _place(shard, webhook)
        found = await self._call("HGET", place.cursors, webhook)
        if found is None:
            newest = await self._call("XREVRANGE", place.events, "+", "-", "COUNT", 1)
            await self._call("HSETNX", place.cursors, webhook, newest[0][0] if newest else "0-0")
            found = await self._call("HGET", place.cursors, webhook)
        cursor: str = found.decode()
        return cursor

    async def fan_out(
        self, shard: int, webhook: str, events: Sequence[Event], *, after: str, to: str, now: datetime
    ) -> bool:
        place = _place(shard, webhook)
        words: list[Word] = [webhook, after, to, milliseconds(now), KEPT_MS]
        for event in events:
            words += (event.id, event.cursor, milliseconds(event.at))
        return bool(await self._run(scripts.FAN_OUT, (place.cursors, place.due, place.pending), words))

    # --- Deliveries

    async def claim(self, webhook: str, limit: int, *, now: datetime, hold: timedelta) -> list[Delivery]:
        until = now + hold
        claimed: list[Delivery] = []
        for place in await self._with_due(webhook, now):
            words = (limit - len(claimed), milliseconds(now), milliseconds(until), place.session)
            flat = await self._run(scripts.CLAIM_HOOKS, (place.due, place.pending, place.events), words)
            claimed += _deliveries(webhook, until, flat)
            if len(claimed) >= limit:
                break
        return claimed

    async def settle(self, delivery: Delivery, attempt: Attempt, *, again_at: datetime | None) -> bool:
        place = _place(int(delivery.id[:2], 16), delivery.webhook)
        again: Word = "" if again_at is None else milliseconds(again_at)
        words: list[Word] = [delivery.id, _entry(delivery), milliseconds(attempt.at), again, KEPT_MS, LOG_KEPT_MS]
        words += (max(LOG_LENGTH // self._shards, 1), "attempt", _encode(attempt))
        return bool(await self._run(scripts.SETTLE_HOOK, (place.due, place.pending, place.log), words))

    # --- DeliveryLog

    async def attempts(self, webhook: str) -> list[Attempt]:
        found: list[Attempt] = []
        for place in self._places(webhook):
            after = "-"
            while page := await self._call("XRANGE", place.log, after, "+", "COUNT", PAGE):
                found += (_decode(fields[1]) for _, fields in page)
                after = f"({page[-1][0].decode()}"
        return sorted(found, key=lambda attempt: attempt.at)

    async def replay(self, shard: int, webhook: str, events: Sequence[Event], *, now: datetime) -> int:
        place, added = _place(shard, webhook), 0
        for start in range(0, len(events), PAGE):
            words: list[Word] = [milliseconds(now), KEPT_MS]
            for event in events[start : start + PAGE]:
                words += (event.id, event.cursor)
            added += int(await self._run(scripts.REPLAY, (place.due, place.pending), words))
        return added

    async def waiting(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for place in self._places(""):
            for name in await self._call("HKEYS", place.cursors):
                webhook = name.decode()
                count = await self._call("ZCARD", _Place(place.tag, webhook).due)
                counts[webhook] = counts.get(webhook, 0) + count
        return counts

    async def forget(self, webhook: str) -> bool:
        gone = 0
        for place in self._places(webhook):
            gone += await self._call("UNLINK", place.due, place.pending, place.log)
            gone += await self._call("HDEL", place.cursors, webhook)
        return gone > 0

    # --- within

    def _places(self, webhook: str) -> Iterator[_Place]:
        return (_place(shard, webhook) for shard in range(self._shards))

    async def _with_due(self, webhook: str, now: datetime) -> list[_Place]:
        """The shards where something is due, from another one each time, so that none starves behind a busy one."""
        places = list(self._places(webhook))
        if len(places) == 1:
            return places
        self._turn = (self._turn + 1) % len(places)
        counted = (self._call("ZCOUNT", place.due, "-inf", milliseconds(now)) for place in places)
        pairs = list(zip(places, await asyncio.gather(*counted), strict=True))
        return [place for place, count in pairs[self._turn :] + pairs[: self._turn] if count]

    async def _call(self, *words: Word) -> Reply:
        try:
            return await self._wire.call(*words)
        except FOREIGN as exc:
            raise translated(exc) from exc

    async def _run(self, script: Script, keys: Sequence[Word], words: Sequence[Word]) -> Reply:
        try:
            return await self._wire.evalsha(script, keys, words)
        except FOREIGN as exc:
            raise translated(exc) from exc


def _place(shard: int, webhook: str) -> _Place:
    return _Place(f"{shard:02x}", webhook)


def _deliveries(webhook: str, until: datetime, flat: list[Reply]) -> Iterator[Delivery]:
    """All but the broken: one record that cannot be read must not keep the others waiting. It comes back."""
    for session_id, entry, fields, record in zip(*(flat[start::4] for start in range(4)), strict=True):
        try:
            yield _delivery(webhook, session_id.decode(), until, entry.decode(), fields, record)
        except LedgerUnavailable as exc:
            _log.error("record.unreadable", extra={"session_id": session_id.decode(), "why": exc.detail})


def _delivery(
    webhook: str, session_id: str, until: datetime, entry: str, fields: list[bytes] | None, record: bytes | None
) -> Delivery:
    cursor, attempts, since, _ = entry.split(" ")
    return Delivery(
        webhook=webhook,
        id=session_id,
        cursor=cursor,
        attempt=int(attempts),
        since=moment(int(since)),
        until=moment(milliseconds(until)),
        event=None if fields is None else event_in(cursor, fields),
        session=None if record is None else decode(session_id, record),
    )


def _entry(delivery: Delivery) -> str:
    """As the claim left it."""
    since, until = milliseconds(delivery.since), milliseconds(delivery.until)
    return f"{delivery.cursor} {delivery.attempt} {since} {until}"
