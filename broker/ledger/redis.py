"""The ledger on Redis (≥ 6.2) or Valkey: every change is one script on one shard.

All keys of a session carry the hash tag `{NN}`, the first two characters of its id, so that Redis Cluster keeps them in
one slot ("Redis cluster specification", hash tags). Scores are unix milliseconds. Per shard: `due:{NN}` is the schedule
of looks, `jobs:{NN}:QUEUE` that of jobs, one for each set of destinations from which jobs can be read; `queues:{NN}`
says when each of them begins; `events:{NN}` is the stream. Per session `session:{NN}:ID` is the record, `stray:{NN}:ID`
an object whose session is unknown, `looked:{NN}:ID` a recent look on demand, `idem:{NN}:HASH` an idempotency key; per
principal `own:{NN}:PRINCIPAL` lists its sessions, `batch:{NN}:HASH` and `owner:{NN}:HASH` those of one label, and
`usage:{NN}:PRINCIPAL` counts what it has pending.
`tomb:{NN}:ID` is a tombstone (`tombstones.py`), `store-id` whose ledger this is (`identity.py`).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from broker.contract import State
from broker.domain.errors import BrokerError, ConfigurationInvalid, LedgerUnavailable
from broker.domain.jobs import is_leased
from broker.domain.keys import SHARDS_LIMIT, shard_of
from broker.domain.principals import ANY_DESTINATION
from broker.domain.queues import Queue, Zones, is_within, queue_of
from broker.domain.sessions import LEASABLE, LOOKED_AT, READABLE, Change, Session
from broker.ledger import census, changing, creation, scripts
from broker.ledger.api_keys import RedisApiKeys
from broker.ledger.health import Durability, examine, examine_by_writing
from broker.ledger.identity import RedisIdentity
from broker.ledger.listing import Entry, Spot, merged
from broker.ledger.rates import RedisRates
from broker.ledger.records import (
    HEADER_BYTES,
    HEARD_AT,
    SCHEMA,
    byte_of,
    decode,
    decode_stray,
    duration,
    encode_stray,
    encode_text,
    event_in,
    mark,
    milliseconds,
    moment,
    queue_name,
    table,
    zone_name,
)
from broker.ledger.tombstones import RedisTombstones
from broker.ledger.troubles import FOREIGN, translated
from broker.ledger.webhooks import RedisWebhooks
from broker.ledger.wire import Reply, Script, Wire, Word
from broker.ports import (
    Backlog,
    Checkup,
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

_log = logging.getLogger("broker.ledger")

T = TypeVar("T")

STRAY_KEPT_MS = 7 * 86_400_000  # ours: a week to notice that nobody looks
EVENTS_PAGE = 500  # ours: a stream is read in pieces that no other client has to wait for

_LOOKED_AT = table(LOOKED_AT)
_READABLE = table(READABLE)
_LEASABLE = table(LEASABLE)
_PROCESSING = byte_of(State.PROCESSING)


@dataclass(frozen=True, slots=True)
class _Shard:
    """Key names and beginnings of key names, joined once."""

    tag: str
    session: str
    due: str
    jobs: str
    queues: str
    events: str
    stray: str
    looked: str
    idempotency: str
    own: str
    batch: str
    owner: str
    usage: str


def _shard(number: int) -> _Shard:
    tag = f"{number:02x}"
    return _Shard(
        tag=tag,
        session=f"session:{{{tag}}}:",
        due=f"due:{{{tag}}}",
        jobs=f"jobs:{{{tag}}}:",
        queues=f"queues:{{{tag}}}",
        events=f"events:{{{tag}}}",
        stray=f"stray:{{{tag}}}:",
        looked=f"looked:{{{tag}}}:",
        idempotency=f"idem:{{{tag}}}:",
        own=f"own:{{{tag}}}:",
        batch=f"batch:{{{tag}}}:",
        owner=f"owner:{{{tag}}}:",
        usage=f"usage:{{{tag}}}:",
    )


_SHARDS = {shard.tag: shard for shard in map(_shard, range(SHARDS_LIMIT))}


class RedisLedger:
    """A `Ledger` whose promises outlive this process.

    :param url: as `Wire` takes it.
    :param durability: what `check` demands; `strict` loses nothing that was acknowledged.
    :param is_dev: a Redis without an append-only file is fine.
    :param news: called when this process has changed a session's state.
    """

    def __init__(
        self,
        url: str,
        *,
        shards: int = 1,
        durability: Durability = "everysec",
        is_dev: bool = False,
        news: Callable[[], None] | None = None,
    ) -> None:
        self._wire = Wire(url)
        self._own = tuple(_SHARDS.values())[:shards]
        self._durability = durability
        self._is_dev = is_dev
        self._news = news
        self._turn = 0
        self.api_keys = RedisApiKeys(self._wire)
        self.rates = RedisRates(self._wire, shards)
        self.webhooks = RedisWebhooks(self._wire, shards)
        self.identity = RedisIdentity(self._wire)
        self.tombstones = RedisTombstones(self._wire)

    async def prepare(self) -> None:
        """Refuses a Redis that would lose sessions.

        :raises ConfigurationInvalid: naming each fault.
        :raises LedgerUnavailable: it does not answer.
        """
        found = await examine(self._wire, durability=self._durability, is_dev=self._is_dev)
        for warning in found.warnings:
            _log.warning("ledger.warning", extra={"warning": warning})
        if found.faults:
            raise ConfigurationInvalid("; ".join(found.faults))

    async def close(self) -> None:
        await self._wire.close()

    @property
    def shards(self) -> int:
        return len(self._own)

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
        item = NewSession(session=session, look_at=look_at, idempotency=idempotency, copies=copies)
        (answer,) = await self.create_many([item], quota=quota)
        if isinstance(answer, BrokerError):
            raise answer
        return answer

    async def create_many(
        self, items: Sequence[NewSession], *, quota: Quota | None = None
    ) -> list[Created | BrokerError]:
        chunks = creation.chunks(items)
        if len(chunks) == 1:
            return await self._create(items, quota)
        answers: dict[int, Created | BrokerError] = {}
        if quota is None and len(chunks) > 1:
            done = await asyncio.gather(*(self._create([items[place] for place in chunk], None) for chunk in chunks))
        else:  # one after the other: each must see what the last one used
            done = [await self._create([items[place] for place in chunk], quota) for chunk in chunks]
        for chunk, made in zip(chunks, done, strict=True):
            answers.update(zip(chunk, made, strict=True))
        return [answers[place] for place in range(len(items))]

    async def get(self, session_id: str) -> Session | None:
        record = await self._call("GET", _SHARDS[shard_of(session_id)].session + session_id)
        return None if record is None else decode(session_id, record)

    async def get_many(self, session_ids: Sequence[str]) -> list[Session | None]:
        by_shard: dict[_Shard, list[str]] = {}
        for session_id in dict.fromkeys(session_ids):
            by_shard.setdefault(_SHARDS[shard_of(session_id)], []).append(session_id)
        found: dict[str, Session | None] = {}
        for sessions in await asyncio.gather(*(self._get_of(shard, ids) for shard, ids in by_shard.items())):
            found.update(sessions)
        return [found[session_id] for session_id in session_ids]

    async def apply(self, change: Change, *more: Change, begins: NewSession | None = None) -> bool:
        shard, changes = _SHARDS[shard_of(change.after.id)], (change, *more)
        keys: list[Word] = [shard.due, shard.queues, shard.events]
        words: list[Word] = []
        for each in changes:
            keys += changing.keys(each.before, each.after, shard)
            words += changing.words(each)
        if begins is not None:
            keys += changing.keys(begins.session, begins.session, shard)
            words += changing.first_words(begins)
        is_written = bool(await self._run(scripts.APPLY, keys, words))
        if is_written and self._news and any(each.is_transition for each in changes):
            self._news()
        return is_written

    # --- Listings

    async def find(self, selection: Selection, *, after: Position | None, limit: int) -> Page:
        fetches = [partial(self._entries, shard, selection) for shard in self._own]
        return await merged(fetches, selection, after, limit)

    async def usage(self, principal: str) -> Usage:
        return await self._usage(principal, self._own)

    # --- Census

    def in_state(self, state: State) -> AsyncIterator[Session]:
        return census.in_state(self._wire, state)

    # --- Looks

    async def hint(self, session_id: str, stray: Stray | None, *, now: datetime) -> bool:
        return await self.hint_many([(session_id, stray)], now=now) > 0

    async def hint_many(self, hints: Sequence[tuple[str, Stray | None]], *, now: datetime) -> int:
        by_shard: dict[_Shard, list[Word]] = {}
        for session_id, stray in hints:
            shard = _SHARDS[shard_of(session_id)]
            if shard in self._own:  # else of nobody's making: nobody would ever claim it
                by_shard.setdefault(shard, []).extend((session_id, *_told(stray)))
        at = milliseconds(now)
        moved = [self._move_looks(shard, _LOOKED_AT, HEARD_AT, told, at) for shard, told in by_shard.items()]
        return await moved[0] if len(moved) == 1 else sum(await asyncio.gather(*moved))

    async def doubt(self, session_id: str, destination: str | None, *, now: datetime) -> bool:
        shard = _SHARDS[shard_of(session_id)]
        if shard not in self._own:
            return False
        told = (session_id, b"", b"" if destination is None else encode_text(destination))
        return await self._move_looks(shard, _READABLE, "", told, milliseconds(now)) > 0

    async def claim(self, limit: int, *, now: datetime, hold: timedelta) -> list[DueLook]:
        looks: list[DueLook] = []
        for shard in await self._with_looks(milliseconds(now)):
            looks += await self._claim_on(shard, limit - len(looks), milliseconds(now), milliseconds(now + hold))
            if len(looks) >= limit:
                break
        return looks

    async def claim_one(self, session_id: str, *, now: datetime, hold: timedelta, every: timedelta) -> DueLook | None:
        shard, until = _SHARDS[shard_of(session_id)], milliseconds(now + hold)
        keys = (shard.due, *(part + session_id for part in (shard.looked, shard.session, shard.stray)))
        answer = await self._run(scripts.CLAIM_ONE, keys, (session_id, until, duration(every), _LOOKED_AT))
        return None if answer is None else _look(session_id, until, *answer)

    async def postpone(self, look: DueLook, until: datetime | None) -> None:
        shard = _SHARDS[shard_of(look.id)]
        keys = (shard.due, shard.stray + look.id)
        await self._run(scripts.POSTPONE, keys, (look.id, look.claim, changing.score(until)))

    # --- Jobs

    async def lease(
        self, limit: int, *, worker: str, now: datetime, until: datetime, zones: Zones = None
    ) -> list[Session]:
        leased: list[Session] = []
        for shard in await self._with_jobs(milliseconds(now), zones):
            left, ends = limit - len(leased), milliseconds(until)
            leased += await self._lease_on(shard, left, worker, milliseconds(now), ends, zones)
            if len(leased) >= limit:
                break
        return leased

    async def renew(self, session_id: str, epoch: int, *, until: datetime, zones: Zones = None) -> Session | None:
        shard = _SHARDS[shard_of(session_id)]
        while (session := await self.get(session_id)) and is_leased(session, epoch):
            queue = queue_of(session)
            if not is_within(queue, zones):
                return None
            keys = (shard.session + session_id, shard.jobs + queue_name(queue), shard.queues)
            words = (mark(session.progress), session_id, milliseconds(until))
            if await self._run(scripts.RENEW, keys, words):
                return session
        return None

    # --- Events, Schedule

    async def read(self, shard: int, after: str = "0") -> AsyncIterator[Event]:
        while True:
            page = await self._call("XRANGE", self._own[shard].events, f"({after}", "+", "COUNT", EVENTS_PAGE)
            for cursor, fields in page:
                after = cursor.decode()
                yield event_in(after, fields)
            if len(page) < EVENTS_PAGE:
                return

    async def end(self, shard: int) -> str:
        last = await self._call("XREVRANGE", self._own[shard].events, "+", "-", "COUNT", 1)
        return last[0][0].decode() if last else "0"

    async def next_due(self) -> datetime | None:
        scores = [score for score in await self._first_looks() if score is not None]
        return moment(min(scores)) if scores else None

    async def backlog(self, *, now: datetime) -> Backlog:
        at = milliseconds(now)
        keys = ((shard.due, shard.queues, shard.events) for shard in self._own)
        rows = await asyncio.gather(*(self._run(scripts.BACKLOG, own, (at,)) for own in keys))
        looks, looks_due, first_looks, visible, first_jobs, jobs, events = zip(*rows, strict=True)
        return Backlog(
            looks=sum(looks),
            looks_due=sum(looks_due),
            oldest_look=_oldest(first_looks),
            jobs_visible=sum(visible),
            oldest_job=_oldest(first_jobs),
            jobs_hidden=sum(jobs) - sum(visible),
            events=sum(events),
        )

    async def check(self) -> Checkup:
        return await examine_by_writing(self._wire, durability=self._durability, is_dev=self._is_dev)

    # --- within

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

    async def _create(self, items: Sequence[NewSession], quota: Quota | None) -> list[Created | BrokerError]:
        """A chunk: of one shard, in one script. What the ledger cannot do it cannot do for any of them."""
        shard, principal = _SHARDS[shard_of(items[0].session.id)], items[0].session.facts.principal
        keys = (shard.due, shard.events, shard.own + principal, shard.usage + principal)
        try:
            elsewhere = Usage(sessions=0, size_bytes=0)
            if quota is not None and len(self._own) > 1:
                elsewhere = await self._usage(principal, [other for other in self._own if other is not shard])
            said: list[Word] = [State.PENDING.value, shard.session, shard.idempotency, creation.INDEX_KEPT_MS]
            said += (*creation.left_of(quota, elsewhere), len(items))
            said += creation.words(items, batch=shard.batch, owner=shard.owner)
            said += creation.copy_words(items)
            answers = await self._run(scripts.CREATE, keys, said)
        except LedgerUnavailable as exc:
            return [exc] * len(items)
        return [creation.answer(answer, item, quota) for answer, item in zip(answers, items, strict=True)]

    async def _usage(self, principal: str, shards: Sequence[_Shard]) -> Usage:
        asked = (self._call("HMGET", shard.usage + principal, "sessions", "bytes") for shard in shards)
        counts = await asyncio.gather(*asked)
        return Usage(
            sessions=sum(int(one or 0) for one, _ in counts), size_bytes=sum(int(one or 0) for _, one in counts)
        )

    async def _entries(self, shard: _Shard, selection: Selection, after: Spot | None, limit: int) -> list[Entry]:
        """Of the smallest index that holds all that is selected."""
        index = shard.own + selection.principal
        if selection.batch is not None:
            index = shard.batch + creation.label_hash(selection.principal, selection.batch)
        elif selection.owner is not None:
            index = shard.owner + creation.label_hash(selection.principal, selection.owner)
        states = b"" if selection.state is None else table(frozenset({selection.state}))
        flat = await self._run(scripts.FIND, (index,), (shard.session, limit, states, *(after or ())))
        triples = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
        return [Entry(created_at=int(at), id=id_.decode(), record=record) for id_, at, record in triples]

    async def _get_of(self, shard: _Shard, session_ids: Sequence[str]) -> list[tuple[str, Session | None]]:
        """Those of one shard: a cluster takes no MGET over several slots."""
        records = await self._call("MGET", *(shard.session + session_id for session_id in session_ids))
        pairs = zip(session_ids, records, strict=True)
        return [(session_id, None if record is None else decode(session_id, record)) for session_id, record in pairs]

    async def _first_looks(self) -> list[int | None]:
        """The first score of each shard's looks, in one round trip."""
        answers = await asyncio.gather(*(self._call("ZRANGE", shard.due, 0, 0, "WITHSCORES") for shard in self._own))
        return [int(float(answer[1])) if answer else None for answer in answers]

    async def _with_looks(self, now: int) -> list[_Shard]:
        """The shards where a look is due. A single one is not asked twice."""
        if len(self._own) == 1:
            return list(self._own)
        return self._turned(score is not None and score <= now for score in await self._first_looks())

    async def _with_jobs(self, now: int, zones: Zones) -> list[_Shard]:
        """The shards where a job of these zones is visible. A single one is not asked twice."""
        if zones is not None and not zones:
            return []
        if len(self._own) == 1:
            return list(self._own)
        wanted = None if zones is None else {*map(zone_name, zones)}
        asked = (self._call("ZRANGEBYSCORE", shard.queues, "-inf", now) for shard in self._own)
        ripe = await asyncio.gather(*asked)
        return self._turned(any(is_within(_queue_in(key), wanted) for key in keys) for keys in ripe)

    def _turned(self, has_ripe: Iterable[bool]) -> list[_Shard]:
        """Where something waits: from another shard each time, so that none starves behind a busy one."""
        self._turn = (self._turn + 1) % len(self._own)
        pairs = list(zip(self._own, has_ripe, strict=True))
        return [shard for shard, is_wanted in pairs[self._turn :] + pairs[: self._turn] if is_wanted]

    async def _move_looks(self, shard: _Shard, states: bytes, heard_at: Word, told: Sequence[Word], now: int) -> int:
        """:param told: id, object and destination of each, the latter two perhaps empty."""
        tables = (states, STRAY_KEPT_MS, HEADER_BYTES, SCHEMA, shard.session, shard.stray, heard_at)
        return int(await self._run(scripts.HINT, (shard.due,), (now, *tables, *told)))

    async def _claim_on(self, shard: _Shard, limit: int, now: int, until: int) -> list[DueLook]:
        words = (limit, now, until, shard.session, shard.stray, SCHEMA)
        flat = await self._run(scripts.CLAIM, (shard.due,), words)
        triples = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
        return _readable(
            (session_id, partial(_look, session_id.decode(), until, record, stray))
            for session_id, record, stray in triples
        )

    async def _lease_on(
        self, shard: _Shard, limit: int, worker: str, now: int, until: int, zones: Zones
    ) -> list[Session]:
        tables = (shard.session, SCHEMA, _LEASABLE, _PROCESSING, State.PROCESSING.value)
        wanted = (ANY_DESTINATION,) if zones is None else map(zone_name, zones)
        words = (limit, now, until, *tables, worker, shard.jobs, *wanted)
        flat = await self._run(scripts.LEASE, (shard.queues, shard.events), words)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return _readable((session_id, partial(decode, session_id.decode(), record)) for session_id, record in pairs)


def _told(stray: Stray | None) -> tuple[bytes, bytes]:
    """The object, and where it lies, as a script takes them."""
    return (b"", b"") if stray is None else (encode_stray(stray), encode_text(stray.destination))


def _queue_in(key: bytes) -> Queue:
    """As it stands in the key of a queue: encoded."""
    return tuple(key.decode().rpartition(":")[2].split(","))


def _oldest(scores: Iterable[bytes]) -> datetime | None:
    found = [float(score) for score in scores if score]
    return moment(int(min(found))) if found else None


def _readable(batch: Iterable[tuple[bytes, Callable[[], T]]]) -> list[T]:
    """All but the broken: one record that cannot be read must not keep its whole shard waiting. It comes back."""
    read: list[T] = []
    for session_id, parse in batch:
        try:
            read.append(parse())
        except LedgerUnavailable as exc:
            _log.error("record.unreadable", extra={"session_id": session_id.decode(), "why": exc.detail})
    return read


def _look(session_id: str, claim: int, record: bytes | None, stray: bytes | None) -> DueLook:
    return DueLook(
        id=session_id,
        claim=claim,
        session=None if record is None else decode(session_id, record),
        stray=None if stray is None else decode_stray(stray),
    )
