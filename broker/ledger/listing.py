"""A listing over all shards: each has an index of its own, and the newest entry of any of them comes next.

A page is bounded three times: by its length, by how many entries were looked at in vain, and by the bytes of what it
holds, because a record may carry a result of 64 KiB. Whatever ends it, the next page begins right behind.
"""

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from broker.domain.errors import LedgerUnavailable
from broker.domain.sessions import Session
from broker.ledger.records import decode, milliseconds, moment
from broker.ports import Page, Position, Selection

MAX_WALKED = 2_000  # ours: entries that one page looks at, some 5 ms of work
MAX_PAGE_BYTES = 4_194_304  # ours: records that one page holds
_MOST_AT_ONCE = 50  # ours: entries that one script reads, well below a millisecond

_log = logging.getLogger("broker.ledger")


class Entry(NamedTuple):
    """One line of an index. `record` is None where it is of another state or forgotten."""

    created_at: int  # unix milliseconds
    id: str
    record: bytes | None


Spot: TypeAlias = tuple[int, str]  # milliseconds and id, as the indexes order them
Fetch: TypeAlias = Callable[[Spot | None, int], Awaitable[Sequence[Entry]]]  # what stands behind, at most so many


@dataclass(slots=True)
class _Walk:
    """Through the index of one shard."""

    fetch: Fetch
    after: Spot | None
    size: int
    ahead: deque[Entry] = field(default_factory=deque)
    is_over: bool = False

    async def look_ahead(self) -> None:
        if self.ahead or self.is_over:
            return
        self.ahead.extend(await self.fetch(self.after, self.size))
        self.is_over = len(self.ahead) < self.size
        if self.ahead:
            self.after = (self.ahead[-1].created_at, self.ahead[-1].id)


async def merged(fetches: Sequence[Fetch], selection: Selection, after: Position | None, limit: int) -> Page:
    """:param fetches: one for each shard."""
    start = None if after is None else (milliseconds(after.created_at), after.id)
    size = min(2 * limit // len(fetches) + 4, _MOST_AT_ONCE)
    walks = [_Walk(fetch=fetch, after=start, size=size) for fetch in fetches]
    await asyncio.gather(*(walk.look_ahead() for walk in walks))
    heads = [_head(number, walk) for number, walk in enumerate(walks) if walk.ahead]
    heapq.heapify(heads)
    sessions: list[Session] = []
    walked = held = 0
    while heads:
        number = heads[0][-1]
        walk = walks[number]
        entry = walk.ahead.popleft()
        walked += 1
        session = _selected(entry, selection)
        if session is not None:
            sessions.append(session)
            held += len(entry.record or b"")
        await walk.look_ahead()
        if walk.ahead:
            heapq.heapreplace(heads, _head(number, walk))
        else:
            heapq.heappop(heads)
        if heads and (len(sessions) == limit or walked >= MAX_WALKED or held >= MAX_PAGE_BYTES):
            return Page(sessions=sessions, end=Position(created_at=moment(entry.created_at), id=entry.id))
    return Page(sessions=sessions, end=None)


def _head(number: int, walk: _Walk) -> tuple[int, list[int], int]:
    """The newest entry is the smallest; of one moment the last id is."""
    entry = walk.ahead[0]
    return -entry.created_at, [-ord(character) for character in entry.id], number


def _selected(entry: Entry, selection: Selection) -> Session | None:
    """A record that cannot be read is left out: one of them must not hide all the others."""
    if entry.record is None:
        return None
    try:
        session = decode(entry.id, entry.record)
    except LedgerUnavailable as exc:
        _log.error("record.unreadable", extra={"session_id": entry.id, "why": exc.detail})
        return None
    facts = session.facts
    is_wanted = (
        facts.principal == selection.principal
        and selection.state in {None, session.state}
        and selection.batch in {None, facts.batch}
        and selection.owner in {None, facts.owner}
    )
    return session if is_wanted else None
