"""Notify: an authentic envelope becomes hints, and hints become due looks, durable before the answer."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from broker.contract import NotificationReceipt
from broker.domain.errors import SourceNotFound
from broker.domain.keys import session_id_in
from broker.ports import Bell, Buckets, Clock, Door, Envelope, Hint, Looks, Stray

_log = logging.getLogger("broker.notify")

AT_ONCE = 64  # ours: hints of one notification on their way to the ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    doors: Mapping[str, Door]
    buckets: Buckets
    looks: Looks
    clock: Clock
    due: Bell

    async def __call__(self, source: str, envelope: Envelope) -> NotificationReceipt:
        """:raises SourceNotFound: no such source is configured.
        :raises NotAuthentic: the sender is not who it should be; nothing was recorded.
        :raises LedgerUnavailable: nothing, or only a part, was recorded; the sender must send again.
        """
        door = self.doors.get(source)
        if door is None:
            raise SourceNotFound
        opened = door.open(envelope)
        now = self.clock.now()
        matched = [found for hint in opened.hints if (found := self._match(door, hint)) is not None]
        await self._hint([*dict.fromkeys(matched)], now)
        if opened.malformed:
            _log.warning("notification.malformed", extra={"source": source, "count": opened.malformed})
        if matched:
            self.due.ring()
        return NotificationReceipt(
            accepted=len(matched),
            ignored=opened.ignored + len(opened.hints) - len(matched),
            malformed=opened.malformed,
        )

    async def _hint(self, matched: Sequence[tuple[str, Stray]], now: datetime) -> None:
        """Some at a time: a notification of thousands must not keep every connection to the ledger busy."""
        for start in range(0, len(matched), AT_ONCE):
            chunk = matched[start : start + AT_ONCE]
            await asyncio.gather(*(self.looks.hint(session_id, stray, now=now) for session_id, stray in chunk))

    def _match(self, door: Door, hint: Hint) -> tuple[str, Stray] | None:
        """The session that a hint speaks of: only of buckets and prefixes about which this source may speak."""
        for name in door.destinations:
            bucket = self.buckets.get(name)
            if bucket is None or bucket.destination.bucket != hint.bucket:
                continue
            session_id = session_id_in(bucket.destination.prefix, hint.key)
            if session_id is not None:
                return session_id, Stray(destination=name, key=hint.key)
        return None
