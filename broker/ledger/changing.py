"""How changes travel to their script: of each the record, and where it stands in the schedules afterwards."""

from datetime import datetime
from typing import Protocol

import msgspec

from broker.domain.queues import queue_of
from broker.domain.sessions import Change, Session
from broker.ledger.records import duration, encode, mark, milliseconds, queue_name
from broker.ledger.tombstones import burial, tombstone_key
from broker.ledger.wire import Word
from broker.ports import NewSession

AS_IT_IS = "="


class Names(Protocol):
    """How the names of a shard's keys begin."""

    @property
    def session(self) -> str: ...
    @property
    def jobs(self) -> str: ...
    @property
    def usage(self) -> str: ...


def keys(before: Session, after: Session, shard: Names) -> tuple[Word, ...]:
    queues = (shard.jobs + queue_name(queue_of(session)) for session in (before, after))
    return shard.session + after.id, *queues, shard.usage + after.facts.principal, tombstone_key(after.id)


def words(change: Change) -> tuple[Word, ...]:
    after, at = change.after, change.after.progress
    return (
        mark(change.before.progress),
        encode(after),
        after.id,
        *_places(change),
        at.state.value if change.is_told else "",
        at.epoch,
        milliseconds(at.changed_at),
        after.facts.spec.size_bytes if change.is_settling else "",
        *burial(change),
        "" if change.reason is None else msgspec.json.encode(change.reason),
    )


def first_words(new: NewSession) -> tuple[Word, ...]:
    """Of a copy that begins: a record that must not be there yet, and its look."""
    return ("", encode(new.session), new.session.id, milliseconds(new.look_at), *("",) * 9)


def score(at: datetime | None) -> Word:
    return "" if at is None else milliseconds(at)


def _places(change: Change) -> tuple[Word, Word, Word]:
    if change.stays:
        return AS_IT_IS, AS_IT_IS, AS_IT_IS
    kept_for = "" if change.keep_for is None else duration(change.keep_for)
    return score(change.look_at), score(change.job_at), kept_for
