"""Record hints: what an authentic sender told becomes due looks, durable before anybody says that it was taken.

By whichever way it came: pushed to a route (`notify`) or fetched from a mailbox (`collect`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Protocol

from broker.contract import NotificationReceipt
from broker.domain.keys import session_id_in
from broker.domain.policy import Destination
from broker.ports import Bell, Clock, Hint, Looks, Opened, Stray

AT_ONCE = 64  # ours: hints of one notification on their way to the ledger


class Located(Protocol):
    """Something that knows its destination: a `Bucket`, or less, where nobody calls a store."""

    @property
    def destination(self) -> Destination: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Match:
    """A session that a hint speaks of, and what it says of its object: that it came, or that it went."""

    id: str
    stray: Stray
    is_removed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordHints:
    buckets: Mapping[str, Located]
    looks: Looks
    clock: Clock
    due: Bell

    async def __call__(self, destinations: Sequence[str], opened: Opened) -> NotificationReceipt:
        """:param destinations: about which its source may speak.
        :raises LedgerUnavailable: nothing, or only a part, was recorded; it must come again.
        """
        matched = [found for hint in opened.hints if (found := self._match(destinations, hint))]
        await self._move([*dict.fromkeys(chain.from_iterable(matched))], self.clock.now())
        if matched:
            self.due.ring()
        return NotificationReceipt(
            accepted=len(matched),
            ignored=opened.ignored + len(opened.hints) - len(matched),
            malformed=opened.malformed,
        )

    async def _move(self, matched: Sequence[_Match], now: datetime) -> None:
        """Some at a time: nobody shall wait for a notification of thousands."""
        for start in range(0, len(matched), AT_ONCE):
            chunk = matched[start : start + AT_ONCE]
            if come := [(each.id, each.stray) for each in chunk if not each.is_removed]:
                await self.looks.hint_many(come, now=now)
            gone = (self.looks.doubt(each.id, each.stray.destination, now=now) for each in chunk if each.is_removed)
            await asyncio.gather(*gone)

    def _match(self, destinations: Sequence[str], hint: Hint) -> list[_Match]:
        """The session that a hint speaks of: only of buckets and prefixes about which this source may speak.

        Where several of these are named alike, at several stores, the ledger knows which one the session is of.
        """
        found: list[_Match] = []
        for name in destinations:
            bucket = self.buckets.get(name)
            if bucket is None or bucket.destination.bucket != hint.bucket:
                continue
            session_id = session_id_in(bucket.destination.prefix, hint.key)
            if session_id is not None:
                stray = Stray(destination=name, key=hint.key)
                found.append(_Match(id=session_id, stray=stray, is_removed=hint.is_removed))
        return found
