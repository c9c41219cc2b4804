"""Whatever is asked of them, the twin in memory and Redis answer the same."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from ledger_samples import (
    DESTINATION,
    HOLD,
    INFO,
    NOW,
    POLICY,
    PRINCIPAL,
    STRAY,
    a_new,
    a_session,
    an_idempotency,
)
from msgspec.structs import replace

from broker.clock import SystemClock
from broker.contract import Reason, State
from broker.dev.redis_server import RedisServer
from broker.domain.errors import BrokerError
from broker.domain.jobs import finish, release, retry
from broker.domain.queues import Zones
from broker.domain.sessions import Change, Session, abort, expire, reject, remint, removed, verify
from broker.ledger.memory import MemoryLedger
from broker.ledger.redis import RedisLedger
from broker.ledger.wire import Wire
from broker.ports import Created, DueLook, Ledger, Page, Quota, Selection

BAD = Reason(code="bad", message="…")
HOUR = timedelta(hours=1)
STEPS = {
    "verify": lambda session, now: verify(session, INFO, DESTINATION, now),
    "reject": lambda session, now: reject(session, INFO, BAD, DESTINATION, now),
    "expire": lambda session, now: expire(session, DESTINATION, now),
    "abort": lambda session, now: abort(session, DESTINATION, now),
    "remint": lambda session, now: remint(session, now + HOUR, now + HOLD),
    "removed": lambda session, _: removed(session, DESTINATION),
    "processed": lambda session, now: finish(session, State.PROCESSED, now, POLICY, result=b"[]"),
    "rejected": lambda session, now: finish(session, State.REJECTED, now, POLICY, reason=BAD),
    "retry": lambda session, now: retry(session, BAD, now, POLICY, None),
    "release": lambda session, now: release(session, now, POLICY, is_infrastructure=False),
    "release later": lambda session, now: release(session, now, POLICY, is_infrastructure=True),
}

some = st.integers(0, 7)  # which of the things seen so far
PLACES = ("default", "eu", "us")
zones = st.none() | st.frozensets(st.sampled_from(PLACES), max_size=2)
waits = st.integers(0, 90).map(lambda seconds: timedelta(seconds=seconds))


class Twins(RuleBasedStateMachine):
    """Asks both the same and compares; what it learned – sessions, looks, even stale ones – it uses again."""

    server: RedisServer
    shards: int

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = NOW
        self.made = 0
        self.sessions: list[Session] = []
        self.looks: list[DueLook] = []
        self.ids = [self.new_id(number) for number in range(4)]
        self.memory = MemoryLedger(SystemClock(), shards=self.shards)
        self.redis = self.runner.run(self.opened())

    def new_id(self, shard: int) -> str:
        """Not random, so that the same run can be had again."""
        self.made += 1
        return f"{shard % self.shards:02x}" + f"{self.made:b}".translate(str.maketrans("01", "ab")).rjust(26, "a")

    def seen(self, which: int) -> Session:
        """The newest first, because there is more to be done with it."""
        return self.sessions[-1 - which % len(self.sessions)]

    async def opened(self) -> RedisLedger:
        self.wire = Wire(self.server.url)
        await self.wire.call("FLUSHALL")
        return RedisLedger(self.server.url, shards=self.shards)

    def teardown(self) -> None:
        try:
            self.both(self.records)
            self.both(self.events)
        finally:
            self.runner.run(self.redis.close())
            self.runner.run(self.wire.close())
            self.runner.close()

    def both(self, ask: Callable[[Ledger], Coroutine[Any, Any, Any]]) -> Any:
        """One answer, which both gave; a refusal is an answer."""
        one, other = self.runner.run(self.answer(ask, self.memory)), self.runner.run(self.answer(ask, self.redis))
        assert one == other
        return one

    async def answer(self, ask: Callable[[Ledger], Coroutine[Any, Any, Any]], ledger: Ledger) -> Any:
        try:
            return await ask(ledger)
        except BrokerError as exc:
            return type(exc).__name__

    async def records(self, ledger: Ledger) -> list[Session | None]:
        return await ledger.get_many([session.id for session in self.sessions])

    async def events(self, ledger: Ledger) -> list[tuple[object, ...]]:
        """In order per session: of jobs that are leased at once from several queues nobody is promised any."""
        streams = [ledger.read(shard) for shard in range(self.shards)]
        events = [event for stream in streams async for event in stream]
        events.sort(key=lambda event: event.id)
        return [(event.id, event.state, event.at, event.epoch, event.reason) for event in events]

    def limit(self, limit: int) -> int:
        """Which shard comes first is nobody's promise, so with several of them all that waits is taken."""
        return limit if self.shards == 1 else 1_000

    @rule(seconds=st.sampled_from([0, 1, 29, 31, 90]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(which=some, shard=st.integers(0, 2), wait=waits, key=st.sampled_from(["", "one", "two"]), body=st.booleans())
    def create(self, which: int, shard: int, wait: timedelta, key: str, body: bool) -> None:
        known = self.ids[which] if which < len(self.ids) else None
        # A key and its session share the shard, as the caller guarantees.
        session = a_session(at=self.now, session_id=known if known and not key else self.new_id(0 if key else shard))
        idempotency = an_idempotency(key, str(body)) if key else None
        answer = self.both(lambda ledger: ledger.create(session, look_at=self.now + wait, idempotency=idempotency))
        if not isinstance(answer, str):
            self.sessions.append(answer.session)

    @rule(
        shards=st.lists(st.integers(0, 2), max_size=5),
        keys=st.lists(st.sampled_from(["", "", "one", "two", "three"]), min_size=5, max_size=5),
        label=st.sampled_from([None, "one", "two"]),
        most=st.none() | st.integers(0, 12),
    )
    def create_many(self, shards: list[int], keys: list[str], label: str | None, most: int | None) -> None:
        pairs = [(0 if key else shard, key) for shard, key in zip(shards, keys, strict=False)]
        # With a quota the order of shards tells who is refused: it is taken from the caller's, in both.
        pairs.sort()
        items = [
            a_new(
                a_session(at=self.now, session_id=self.new_id(shard), batch=label, owner=label),
                idempotency=an_idempotency(key) if key else None,
            )
            for shard, key in pairs
        ]
        quota = None if most is None else Quota(sessions=most, size_bytes=most * 10**7)

        async def ask(ledger: Ledger) -> list[Any]:
            answers = await ledger.create_many(items, quota=quota)
            return [answer if isinstance(answer, Created) else str(answer) for answer in answers]

        self.sessions += [answer.session for answer in self.both(ask) if isinstance(answer, Created)]

    @rule(
        label=st.sampled_from([None, "one", "two"]),
        owner=st.sampled_from([None, "one"]),
        state=st.none() | st.sampled_from([*State]),
        limit=st.integers(1, 6),
    )
    def find(self, label: str | None, owner: str | None, state: State | None, limit: int) -> None:
        selection = Selection(principal=PRINCIPAL, batch=label, owner=owner, state=state)

        first: Page = self.both(lambda ledger: ledger.find(selection, after=None, limit=limit))
        if first.end:
            self.both(lambda ledger: ledger.find(selection, after=first.end, limit=limit))

    @rule(shard=st.integers(0, 2), place=st.sampled_from(PLACES), is_leased=st.booleans())
    def work(self, shard: int, place: str, is_leased: bool) -> None:
        """A shortcut to where jobs are, which random steps would seldom find."""
        session = a_session(at=self.now, session_id=self.new_id(shard), destination=place)
        self.both(lambda ledger: ledger.create(session, look_at=self.now, idempotency=None))
        change = verify(session, INFO, DESTINATION, self.now)
        self.both(lambda ledger: ledger.apply(change))
        self.sessions.append(change.after)
        if is_leased:
            self.lease(4, frozenset({place}))

    @precondition(lambda self: self.sessions)
    @rule(which=some, step=st.sampled_from(sorted(STEPS)))
    def change(self, which: int, step: str) -> None:
        """From a session as it was once seen, so that old revisions are tried as well."""
        session = self.seen(which)
        try:
            change: Change = STEPS[step](session, self.now)
        except BrokerError:
            return
        if self.both(lambda ledger: ledger.apply(change)):
            self.sessions.append(change.after)

    @rule(which=some, is_stray=st.booleans(), is_known=st.booleans())
    def hint(self, which: int, is_stray: bool, is_known: bool) -> None:
        ids = [session.id for session in self.sessions] if is_known and self.sessions else self.ids
        session_id = ids[-1 - which % len(ids)]
        self.both(lambda ledger: ledger.hint(session_id, STRAY if is_stray else None, now=self.now))

    @precondition(lambda self: self.sessions)
    @rule(which=some, place=st.none() | st.sampled_from(PLACES))
    def doubt(self, which: int, place: str | None) -> None:
        session_id = self.seen(which).id
        self.both(lambda ledger: ledger.doubt(session_id, place, now=self.now))

    @rule(limit=st.integers(1, 4))
    def claim(self, limit: int) -> None:
        async def ask(ledger: Ledger) -> list[DueLook]:
            looks = await ledger.claim(self.limit(limit), now=self.now, hold=HOLD)
            return looks if self.shards == 1 else sorted(looks, key=lambda look: look.id)

        self.looks += self.both(ask)

    @precondition(lambda self: self.sessions)
    @rule(which=some)
    def claim_one(self, which: int) -> None:
        session_id = self.seen(which).id
        look = self.both(lambda ledger: ledger.claim_one(session_id, now=self.now, hold=HOLD, every=HOUR))
        self.looks += [look] if look else []

    @precondition(lambda self: self.looks)
    @rule(which=some, wait=st.none() | waits)
    def postpone(self, which: int, wait: timedelta | None) -> None:
        look = self.looks[-1 - which % len(self.looks)]
        self.both(lambda ledger: ledger.postpone(look, None if wait is None else self.now + wait))

    @rule(limit=st.integers(1, 4), zones=zones)
    def lease(self, limit: int, zones: Zones) -> None:
        is_ordered = self.shards == 1 and zones is not None and len(zones) == 1

        async def ask(ledger: Ledger) -> list[Session]:
            most = limit if is_ordered else 1_000  # which of two as old comes first is nobody's promise
            jobs = await ledger.lease(most, worker="w", now=self.now, until=self.now + HOLD, zones=zones)
            return jobs if is_ordered else sorted(jobs, key=lambda job: job.id)

        self.sessions += self.both(ask)

    @precondition(lambda self: self.sessions)
    @rule(which=some, wait=waits, zones=zones)
    def renew(self, which: int, wait: timedelta, zones: Zones) -> None:
        session = self.seen(which)
        epoch = session.progress.epoch
        self.both(lambda ledger: ledger.renew(session.id, epoch, until=self.now + HOLD + wait, zones=zones))

    @precondition(lambda self: self.sessions)
    @rule(which=some, place=st.sampled_from(PLACES), is_kept=st.booleans())
    def move(self, which: int, place: str, is_kept: bool) -> None:
        """Where its job can be read changes."""
        session = self.seen(which)
        progress = replace(session.progress, revision=session.progress.revision + 1)
        after = replace(session, progress=progress, facts=replace(session.facts, destination=place))
        change = Change(before=session, after=after, stays=is_kept, job_at=None if is_kept else self.now)
        if self.both(lambda ledger: ledger.apply(change)):
            self.sessions.append(after)

    @invariant()
    def they_agree_on_what_comes_next(self) -> None:
        self.both(lambda ledger: ledger.next_due())

    @invariant()
    def they_agree_on_what_waits(self) -> None:
        self.both(lambda ledger: ledger.backlog(now=self.now))

    @invariant()
    def it_is_known_of_each_queue_when_it_begins_and_of_no_other(self) -> None:
        self.runner.run(self.look_at_queues())

    async def look_at_queues(self) -> None:
        for shard in range(self.shards):
            known = await self.wire.call("ZRANGE", f"queues:{{{shard:02x}}}", 0, -1, "WITHSCORES")
            keys = await self.wire.call("KEYS", f"jobs:{{{shard:02x}}}:*")
            firsts = [await self.wire.call("ZRANGE", key, 0, 0, "WITHSCORES") for key in keys]
            assert dict(zip(known[::2], known[1::2], strict=True)) == {
                key: score for key, (_, score) in zip(keys, firsts, strict=True)
            }

    @invariant()
    def they_agree_on_what_is_pending(self) -> None:
        self.both(lambda ledger: ledger.usage(PRINCIPAL))


@pytest.mark.timeout(600)  # takes seconds; finding the smallest counter-example takes minutes
@pytest.mark.parametrize("number_of_shards", [1, 3])
def test_memory_and_redis_answer_everything_alike(server: RedisServer, number_of_shards: int) -> None:
    class TwinsHere(Twins):
        pass

    TwinsHere.server, TwinsHere.shards = server, number_of_shards
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        TwinsHere,
        settings=settings(
            max_examples=25,
            stateful_step_count=50,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
