"""The ledger's twin in plain dicts: the same promises for one process, gone with it. For tests and for trying out.

Nothing here awaits, so on one event loop each method is as atomic as a script. Records are kept as the bytes that Redis
would keep: what one twin rounds, refuses or copies, the other does too.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial

from msgspec.structs import replace

from broker.contract import State
from broker.domain.errors import BrokerError, IdempotencyKeyReused
from broker.domain.jobs import is_leased
from broker.domain.keys import shard_of
from broker.domain.queues import Zones, is_within, queue_of
from broker.domain.sessions import LEASABLE, LOOKED_AT, READABLE, Change, Session
from broker.ledger.api_keys import MemoryApiKeys
from broker.ledger.creation import refusal
from broker.ledger.identity import MemoryIdentity
from broker.ledger.listing import Entry, Spot, merged
from broker.ledger.memory_shard import KEPT_MS, NOTHING, Line, Schedule, Shard
from broker.ledger.memory_webhooks import MemoryWebhooks, position
from broker.ledger.rates import MemoryRates
from broker.ledger.records import byte_of, decode, duration, encode, milliseconds, moment
from broker.ledger.tombstones import MemoryTombstones
from broker.ports import (
    Backlog,
    Checkup,
    Clock,
    Created,
    DueLook,
    Event,
    Idempotency,
    NewSession,
    Page,
    Position,
    Quota,
    Selection,
    Stray,
    Usage,
)


class MemoryLedger:
    """A `Ledger` that lives as long as the object.

    :param clock: says when kept things end; the schedules go by the moments that callers pass.
    """

    def __init__(self, clock: Clock, *, shards: int = 1) -> None:
        self._clock = clock
        self._shards = {f"{number:02x}": Shard() for number in range(shards)}
        self._turn = 0
        self.api_keys = MemoryApiKeys()
        self.rates = MemoryRates(clock)
        self.webhooks = MemoryWebhooks(self, self, [shard.cursors for shard in self._shards.values()])
        self.identity = MemoryIdentity()
        self.tombstones = MemoryTombstones(clock)

    async def prepare(self) -> None:
        """Nothing can be wrong."""

    async def close(self) -> None:
        """Nothing is open."""

    @property
    def shards(self) -> int:
        return len(self._shards)

    # --- Sessions

    async def create(
        self,
        session: Session,
        *,
        look_at: datetime,
        idempotency: Idempotency | None,
        quota: Quota | None = None,
        copies: tuple[NewSession, ...] = (),
    ) -> Created:
        shard, now = self._shard(session.id), self._now()
        known = shard.idempotency.get(idempotency.key, now) if idempotency else None
        if known and idempotency and known[0] != idempotency.body:
            raise IdempotencyKeyReused
        if known and (made := self._session(known[1])):
            return Created(session=made, is_replay=True)
        if quota is not None:
            await self._need_room(session, quota)
        if existing := self._session(session.id):
            return Created(session=existing, is_replay=True)
        for new in (NewSession(session=session, look_at=look_at), *copies):
            shard.begin(new)
        shard.record(session.id, session.progress, now)
        facts = session.facts
        line = Line(milliseconds(session.progress.changed_at), facts.batch, facts.owner)
        shard.own.setdefault(facts.principal, {})[session.id] = line
        shard.use(facts.principal, 1, facts.spec.size_bytes)
        if idempotency:
            value = (idempotency.body, session.id)
            shard.idempotency.put(idempotency.key, value, until=now + duration(idempotency.keep_for))
        return Created(session=session, is_replay=False)

    async def create_many(
        self, items: Sequence[NewSession], *, quota: Quota | None = None
    ) -> list[Created | BrokerError]:
        return [await self._created(item, quota) for item in items]

    async def get(self, session_id: str) -> Session | None:
        return self._session(session_id)

    async def get_many(self, session_ids: Sequence[str]) -> list[Session | None]:
        return [self._session(session_id) for session_id in session_ids]

    async def apply(self, change: Change, *more: Change, begins: NewSession | None = None) -> bool:
        changes = (change, *more)
        is_there = begins is not None and self._session(begins.session.id) is not None
        if is_there or not all(self._is_as_before(each) for each in changes):
            return False
        for each in changes:
            self._apply(each)
        if begins is not None:
            self._shard(begins.session.id).begin(begins)
        return True

    # --- Listings

    async def find(self, selection: Selection, *, after: Position | None, limit: int) -> Page:
        fetches = [partial(self._entries, shard, selection) for shard in self._shards.values()]
        return await merged(fetches, selection, after, limit)

    async def usage(self, principal: str) -> Usage:
        used = [shard.usage.get(principal, NOTHING) for shard in self._shards.values()]
        return Usage(sessions=sum(one.sessions for one in used), size_bytes=sum(one.size_bytes for one in used))

    # --- Census

    async def in_state(self, state: State) -> AsyncIterator[Session]:
        for shard in self._shards.values():
            for session_id in [*shard.sessions]:
                session = self._session(session_id)
                if session is not None and session.state is state and not session.facts.copy_of:
                    yield session

    # --- Looks

    async def hint(self, session_id: str, stray: Stray | None, *, now: datetime) -> bool:
        shard, session = self._shard(session_id), self._session(session_id)
        if shard_of(session_id) not in self._shards or (session is None and stray is None):
            return False
        if session is not None and session.state not in LOOKED_AT:
            return False
        if session is not None and stray is not None and session.facts.destination != stray.destination:
            return False
        if session is None and stray is not None:
            shard.strays.put(session_id, stray, until=self._now() + KEPT_MS)
        if session is not None:
            heard = replace(session, progress=replace(session.progress, is_heard=True))
            shard.sessions.put(session_id, encode(heard), until=shard.sessions.end_of(session_id))
        return shard.look_by(session_id, milliseconds(now))

    async def doubt(self, session_id: str, destination: str | None, *, now: datetime) -> bool:
        session = self._session(session_id)
        if session is None or session.state not in READABLE or destination not in {None, session.facts.destination}:
            return False
        return self._shard(session_id).look_by(session_id, milliseconds(now))

    async def hint_many(self, hints: Sequence[tuple[str, Stray | None]], *, now: datetime) -> int:
        return sum([await self.hint(session_id, stray, now=now) for session_id, stray in hints])

    async def claim(self, limit: int, *, now: datetime, hold: timedelta) -> list[DueLook]:
        until = milliseconds(now + hold)
        looks: list[DueLook] = []
        for session_id, due in self._ripe(milliseconds(now), lambda shard: [shard.due]):
            if len(looks) == limit:
                break
            look = self._look(session_id, until)
            if look is None:
                del due[session_id]
            else:
                due[session_id] = until
                looks.append(look)
        return looks

    async def claim_one(self, session_id: str, *, now: datetime, hold: timedelta, every: timedelta) -> DueLook | None:
        shard, wall = self._shard(session_id), self._now()
        if shard.looked.get(session_id, wall):
            return None
        shard.looked.put(session_id, True, until=wall + duration(every))
        until = milliseconds(now + hold)
        look = self._look(session_id, until)
        if look and (look.session is None or look.session.state in LOOKED_AT):
            shard.due[session_id] = until
        return look

    async def postpone(self, look: DueLook, until: datetime | None) -> None:
        shard = self._shard(look.id)
        if shard.due.get(look.id) != look.claim:
            return
        _place(shard.due, look.id, until)
        if until is None:
            shard.strays.drop(look.id)

    # --- Jobs

    async def lease(
        self,
        limit: int,
        *,
        worker: str,  # noqa: ARG002 - the stream keeps it, Event does not
        now: datetime,
        until: datetime,
        zones: Zones = None,
    ) -> list[Session]:
        leased: list[Session] = []
        for session_id, jobs in self._ripe(milliseconds(now), lambda shard: shard.queues_of(zones)):
            if len(leased) == limit:
                break
            shard, session = self._shard(session_id), self._session(session_id)
            if session is None or session.state not in LEASABLE:
                del jobs[session_id]
                continue
            shard.sessions.put(session_id, encode(_leased(session, now)))
            jobs[session_id] = milliseconds(until)
            leased.append(decode(session_id, shard.sessions.get(session_id, 0) or b""))
            shard.record(session_id, leased[-1].progress, self._now())
        return leased

    async def renew(self, session_id: str, epoch: int, *, until: datetime, zones: Zones = None) -> Session | None:
        session = self._session(session_id)
        if session is None or not is_leased(session, epoch) or not is_within(queue_of(session), zones):
            return None
        self._shard(session_id).jobs[queue_of(session)][session_id] = milliseconds(until)
        return session

    # --- Events, Schedule

    async def read(self, shard: int, after: str = "0") -> AsyncIterator[Event]:
        found, (ms, number) = self._shards[f"{shard:02x}"], position(after)
        for event in found.events[found.place_of((ms, number + 1)) :]:
            yield event

    async def end(self, shard: int) -> str:
        events = self._shards[f"{shard:02x}"].events
        return events[-1].cursor if events else "0"

    async def next_due(self) -> datetime | None:
        scores = [score for shard in self._shards.values() for score in shard.due.values()]
        return moment(min(scores)) if scores else None

    async def backlog(self, *, now: datetime) -> Backlog:
        shards, at = self._shards.values(), milliseconds(now)
        looks = [score for shard in shards for score in shard.due.values()]
        jobs = [score for shard in shards for queue in shard.jobs.values() for score in queue.values()]
        due, visible = [score for score in looks if score <= at], [score for score in jobs if score <= at]
        return Backlog(
            looks=len(looks),
            looks_due=len(due),
            oldest_look=moment(min(due)) if due else None,
            jobs_visible=len(visible),
            oldest_job=moment(min(visible)) if visible else None,
            jobs_hidden=len(jobs) - len(visible),
            events=sum(len(shard.events) for shard in shards),
        )

    async def check(self) -> Checkup:
        return Checkup()

    # --- within

    def _now(self) -> int:
        return milliseconds(self._clock.now())

    def _shard(self, session_id: str) -> Shard:
        """An id of a shard that we do not have is of nobody's making: it finds an empty one."""
        return self._shards.get(shard_of(session_id)) or Shard()

    def _session(self, session_id: str) -> Session | None:
        record = self._shard(session_id).sessions.get(session_id, self._now())
        return None if record is None else decode(session_id, record)

    def _is_as_before(self, change: Change) -> bool:
        stored = self._session(change.after.id)
        return stored is not None and stored.progress.revision == change.before.progress.revision

    def _apply(self, change: Change) -> None:
        after, shard, now = change.after, self._shard(change.after.id), self._now()
        if change.stays:
            shard.sessions.put(after.id, encode(after), until=shard.sessions.end_of(after.id))
        else:
            until = None if change.keep_for is None else now + duration(change.keep_for)
            shard.sessions.put(after.id, encode(after), until=until)
            _place(shard.due, after.id, change.look_at)
        shard.move_job(change)
        if change.is_told:
            shard.record(after.id, after.progress, now, change.reason)
        if change.is_settling:
            shard.use(after.facts.principal, -1, -after.facts.spec.size_bytes)
        self.tombstones.bury(change)

    async def _created(self, item: NewSession, quota: Quota | None) -> Created | BrokerError:
        try:
            return await self.create(
                item.session, look_at=item.look_at, idempotency=item.idempotency, quota=quota, copies=item.copies
            )
        except BrokerError as exc:
            return exc

    async def _need_room(self, session: Session, quota: Quota) -> None:
        used = await self.usage(session.facts.principal)
        if quota.sessions is not None and used.sessions + 1 > quota.sessions:
            raise refusal(quota, is_of_bytes=False)
        if quota.size_bytes is not None and used.size_bytes + session.facts.spec.size_bytes > quota.size_bytes:
            raise refusal(quota, is_of_bytes=True)

    async def _entries(self, shard: Shard, selection: Selection, after: Spot | None, limit: int) -> list[Entry]:
        """Of those with the label that is asked for: of one of them, as Redis has no index by both."""
        own, now = shard.own.get(selection.principal, {}), self._now()
        owner = selection.owner if selection.batch is None else None
        spots = sorted(
            (line.created_at, session_id)
            for session_id, line in own.items()
            if selection.batch in {None, line.batch} and owner in {None, line.owner}
        )
        entries = []
        for at, session_id in [spot for spot in spots[::-1] if after is None or spot < after][:limit]:
            record = shard.sessions.get(session_id, now)
            if record is None:
                del own[session_id]
            elif selection.state is not None and record[1] != byte_of(selection.state):
                record = None
            entries.append(Entry(created_at=at, id=session_id, record=record))
        return entries

    def _look(self, session_id: str, claim: int) -> DueLook | None:
        session = self._session(session_id)
        stray = None if session else self._shard(session_id).strays.get(session_id, self._now())
        return DueLook(id=session_id, claim=claim, session=session, stray=stray) if session or stray else None

    def _ripe(self, now: int, schedules_of: Callable[[Shard], Iterable[Schedule]]) -> Iterator[tuple[str, Schedule]]:
        """Shard by shard, from another one each time; in a shard the earliest first, each with its schedule."""
        self._turn = (self._turn + 1) % len(self._shards)
        shards = [*self._shards.values()]
        for shard in shards[self._turn :] + shards[: self._turn]:
            # A list is made, because the caller changes what it walks.
            entries = [(at, session_id, of) for of in schedules_of(shard) for session_id, at in of.items() if at <= now]
            entries.sort(key=lambda entry: entry[:2])
            yield from ((session_id, schedule) for _, session_id, schedule in entries)


def _place(schedule: dict[str, int], session_id: str, at: datetime | None) -> None:
    if at is None:
        schedule.pop(session_id, None)
    else:
        schedule[session_id] = milliseconds(at)


def _leased(session: Session, now: datetime) -> Session:
    at = session.progress
    return replace(
        session,
        progress=replace(
            at,
            state=State.PROCESSING,
            revision=at.revision + 1,
            epoch=at.epoch + 1,
            lost_leases=at.lost_leases + (at.state is State.PROCESSING),
            changed_at=max(now, at.changed_at + timedelta(milliseconds=1)),
        ),
    )
