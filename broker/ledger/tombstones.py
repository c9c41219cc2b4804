"""Tombstones: `tomb:{NN}:ID`, written by the same script as the record that they outlive (`apply.lua`).

Ten bytes of value: the schema, the state's byte as in a record, and from when it is quiet in unix milliseconds. With
its key and its time to live one takes what `tests/contracts/ledger` measures.
"""

import asyncio
import struct
from collections.abc import Sequence
from datetime import timedelta

from broker.domain.errors import LedgerUnavailable
from broker.domain.keys import shard_of
from broker.domain.sessions import Change
from broker.domain.tombstones import OUTLIVES, Tombstone
from broker.ledger.records import STATES, byte_of, duration, milliseconds, moment
from broker.ledger.troubles import FOREIGN, translated
from broker.ledger.wire import Wire, Word
from broker.ports import Clock

SCHEMA = 1

_LAYOUT = struct.Struct(">BBQ")


def tombstone_key(session_id: str) -> str:
    return f"tomb:{{{shard_of(session_id)}}}:{session_id}"


def burial(change: Change) -> tuple[Word, Word]:
    """The tombstone that a change leaves and for how many milliseconds it stands. Blanks: there is none, or whatever
    stands there stays; no time at all: it goes."""
    if change.tombstone is None:
        return "", 0 if change.is_transition else ""
    return encode_tombstone(change.tombstone), _stands_for(change)


def encode_tombstone(tombstone: Tombstone) -> bytes:
    return _LAYOUT.pack(SCHEMA, byte_of(tombstone.state), milliseconds(tombstone.quiet_at))


def decode_tombstone(data: bytes) -> Tombstone:
    """:raises LedgerUnavailable: a newer broker, or none at all, wrote it."""
    try:
        schema, state, quiet_at = _LAYOUT.unpack(data)
        if schema == SCHEMA:
            return Tombstone(state=STATES[state], quiet_at=moment(quiet_at))
    except (struct.error, IndexError, OverflowError) as exc:
        raise LedgerUnavailable("a tombstone in the ledger cannot be read") from exc
    raise LedgerUnavailable(f"a tombstone is of schema {schema}, this broker reads {SCHEMA}")


def _stands_for(change: Change) -> int:
    return duration((change.keep_for or timedelta(0)) + OUTLIVES)


class RedisTombstones:
    """`Tombstones`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def find_many(self, session_ids: Sequence[str]) -> list[Tombstone | None]:
        by_shard: dict[str, list[str]] = {}
        for session_id in dict.fromkeys(session_ids):
            by_shard.setdefault(shard_of(session_id), []).append(session_id)
        found: dict[str, Tombstone | None] = {}
        for tombstones in await asyncio.gather(*(self._find_on_shard(ids) for ids in by_shard.values())):
            found.update(tombstones)
        return [found[session_id] for session_id in session_ids]

    async def _find_on_shard(self, session_ids: Sequence[str]) -> list[tuple[str, Tombstone | None]]:
        try:
            values = await self._wire.call("MGET", *(tombstone_key(session_id) for session_id in session_ids))
        except FOREIGN as exc:
            raise translated(exc) from exc
        pairs = zip(session_ids, values, strict=True)
        return [(session_id, None if value is None else decode_tombstone(value)) for session_id, value in pairs]


class MemoryTombstones:
    """The twin in a dict."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._standing: dict[str, tuple[bytes, int]] = {}

    def bury(self, change: Change) -> None:
        """What `apply.lua` does with the two words of `burial`."""
        session_id = change.after.id
        if change.tombstone is not None:
            until = milliseconds(self._clock.now()) + _stands_for(change)
            self._standing[session_id] = encode_tombstone(change.tombstone), until
        elif change.is_transition:
            self._standing.pop(session_id, None)

    async def find_many(self, session_ids: Sequence[str]) -> list[Tombstone | None]:
        now = milliseconds(self._clock.now())
        kept = [self._standing.get(session_id) for session_id in session_ids]
        return [decode_tombstone(found[0]) if found and now < found[1] else None for found in kept]
