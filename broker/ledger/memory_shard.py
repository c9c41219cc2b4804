"""What the ledger's twin keeps of one shard, in the parts that Redis keeps under one hash tag."""

import bisect
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from broker.contract import Reason
from broker.domain.queues import Queue, Zones, is_within, queue_of
from broker.domain.sessions import Change, Progress
from broker.ledger.memory_webhooks import position
from broker.ledger.records import encode, milliseconds, moment
from broker.ports import Event, NewSession, Stray, Usage

KEPT_MS = 7 * 86_400_000  # ours, events and strays: a week to notice that nobody reads them
HELD_MS = 30 * 86_400_000  # ours: the longest that a reader holds events

NOTHING = Usage(sessions=0, size_bytes=0)

V = TypeVar("V")

Schedule: TypeAlias = dict[str, int]  # when, by session id


class Shelf(Generic[V]):
    """A dict whose entries may have an end."""

    def __init__(self) -> None:
        self._items: dict[str, tuple[V, int | None]] = {}

    def put(self, key: str, value: V, *, until: int | None = None) -> None:
        self._items[key] = (value, until)

    def get(self, key: str, now: int) -> V | None:
        value, until = self._items.get(key, (None, None))
        if until is not None and until <= now:
            self.drop(key)
            return None
        return value

    def end_of(self, key: str) -> int | None:
        return self._items[key][1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def drop(self, key: str) -> None:
        self._items.pop(key, None)


class Line(NamedTuple):
    """A session in the listing of its principal."""

    created_at: int
    batch: str | None
    owner: str | None


@dataclass(slots=True)
class Shard:
    """What Redis keeps under one hash tag, in the same parts."""

    sessions: Shelf[bytes] = field(default_factory=Shelf)
    strays: Shelf[Stray] = field(default_factory=Shelf)
    looked: Shelf[bool] = field(default_factory=Shelf)
    idempotency: Shelf[tuple[str, str]] = field(default_factory=Shelf)  # body, session id
    due: Schedule = field(default_factory=dict)
    jobs: dict[Queue, Schedule] = field(default_factory=lambda: defaultdict(dict))
    events: list[Event] = field(default_factory=list)
    cursors: dict[str, str] = field(default_factory=dict)
    recorded: tuple[int, int] = (0, 0)
    own: dict[str, dict[str, Line]] = field(default_factory=dict)  # by principal and session id
    usage: dict[str, Usage] = field(default_factory=dict)

    def begin(self, new: NewSession) -> None:
        """A record and its look, which is all there is of a copy."""
        self.sessions.put(new.session.id, encode(new.session))
        self.due[new.session.id] = milliseconds(new.look_at)

    def use(self, principal: str, sessions: int, size_bytes: int) -> None:
        """Counts up or down; who has no session pending has no bytes either."""
        used = self.usage.get(principal, NOTHING)
        self.usage[principal] = Usage(sessions=used.sessions + sessions, size_bytes=used.size_bytes + size_bytes)
        if self.usage[principal].sessions <= 0:
            del self.usage[principal]

    def record(self, session_id: str, progress: Progress, now: int, reason: Reason | None = None) -> None:
        """Under a cursor as Redis makes them: when it was recorded, and a number; together they only grow."""
        ms, number = self.recorded
        self.recorded = (ms, number + 1) if now <= ms else (now, 0)
        cursor, at = "{}-{}".format(*self.recorded), moment(milliseconds(progress.changed_at))
        state, epoch = progress.state, progress.epoch
        self.events.append(Event(cursor=cursor, id=session_id, state=state, at=at, epoch=epoch, reason=reason))
        kept_from = min([(now - KEPT_MS, 0), *map(position, self.cursors.values())])
        del self.events[: self.place_of(max(kept_from, (now - HELD_MS, 0)))]

    def move_job(self, change: Change) -> None:
        """From its queue before to its queue after."""
        session_id = change.after.id
        at = self.jobs[queue_of(change.before)].pop(session_id, None)
        if not change.stays:
            at = None if change.job_at is None else milliseconds(change.job_at)
        if at is not None:
            self.jobs[queue_of(change.after)][session_id] = at

    def look_by(self, session_id: str, score: int) -> bool:
        """Whether that changed the schedule."""
        if self.due.get(session_id, score + 1) <= score:
            return False
        self.due[session_id] = score
        return True

    def queues_of(self, zones: Zones) -> list[Schedule]:
        return [jobs for queue, jobs in self.jobs.items() if is_within(queue, zones)]

    def place_of(self, wanted: tuple[int, int]) -> int:
        """Of the first event that is not before."""
        return bisect.bisect_left(self.events, wanted, key=lambda event: position(event.cursor))
