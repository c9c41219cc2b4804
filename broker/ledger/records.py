"""The bytes of a record: a fixed header that scripts read and rewrite, then the facts that they only carry.

The header is big-endian and without padding, so that Redis' Lua `struct` library (format `>BBI4I4I2I2I2I8B`) and
Python's `struct` agree on it. The facts are msgpack; fields are only ever appended, so an older broker's record is read
with defaults. The first byte names the schema: a broker refuses what a newer one wrote rather than guess.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from struct import Struct as Layout
from urllib.parse import quote

import msgspec

from broker.contract import Reason, State
from broker.domain.errors import LedgerUnavailable
from broker.domain.queues import Queue
from broker.domain.sessions import Facts, Progress, Session
from broker.ports import Event, Stray

SCHEMA = 2

# A state's byte is its place here, in every record ever written: append only, never reorder.
STATES = (
    State.PENDING,
    State.VERIFIED,
    State.PROCESSING,
    State.PROCESSED,
    State.FAILED,
    State.REJECTED,
    State.EXPIRED,
    State.ABORTED,
)

# schema, state, revision, epoch, failures, lost leases, infrastructure, changed at (unix milliseconds), heard (0 or 1)
_HEADER = Layout(">BBIIHHHQB")
HEADER_BYTES = _HEADER.size
HEARD_AT = HEADER_BYTES - 1  # where `hint` notes that an event came
_MARK = Layout(">BBI")  # the header's beginning: no two records of one session share it

_MOST = 0xFFFF  # what two bytes hold; a count that high has long told its story

_BYTES = {state: number for number, state in enumerate(STATES)}
_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)

_encode_facts = msgspec.msgpack.Encoder().encode
_decode_facts = msgspec.msgpack.Decoder(Facts).decode
_encode_text = msgspec.msgpack.Encoder().encode
_encode_stray = msgspec.msgpack.Encoder().encode
_decode_reason = msgspec.json.Decoder(Reason).decode
_decode_stray = msgspec.msgpack.Decoder(tuple[str, str]).decode


def encode(session: Session) -> bytes:
    at = session.progress
    header = _HEADER.pack(
        SCHEMA,
        _BYTES[at.state],
        at.revision,
        at.epoch,
        min(at.failures, _MOST),
        min(at.lost_leases, _MOST),
        min(at.infrastructure, _MOST),
        milliseconds(at.changed_at),
        at.is_heard,
    )
    return header + _encode_facts(session.facts)


def decode(session_id: str, record: bytes) -> Session:
    """The session in `record`.

    :raises LedgerUnavailable: a newer broker, or none at all, wrote it; another process may be able to read it.
    """
    if record[:1] != bytes([SCHEMA]) or len(record) < HEADER_BYTES:
        wrote = f"schema {record[0]}" if record else "an empty one"
        raise LedgerUnavailable(f"the record of session {session_id} is of {wrote}, this broker reads {SCHEMA}")
    _, state, revision, epoch, failures, lost, infrastructure, changed_at, heard = _HEADER.unpack_from(record)
    try:
        facts = _decode_facts(memoryview(record)[HEADER_BYTES:])
        progress = Progress(
            state=STATES[state],
            revision=revision,
            epoch=epoch,
            failures=failures,
            lost_leases=lost,
            infrastructure=infrastructure,
            changed_at=moment(changed_at),
            is_heard=bool(heard),
        )
    except (msgspec.MsgspecError, IndexError) as exc:
        raise LedgerUnavailable(f"the record of session {session_id} cannot be read") from exc
    return Session(id=session_id, progress=progress, facts=facts)


def mark(progress: Progress) -> bytes:
    """What a record begins with while it still is at this revision: schema, state and revision in one comparison."""
    return _MARK.pack(SCHEMA, _BYTES[progress.state], progress.revision)


def byte_of(state: State) -> int:
    return _BYTES[state]


def table(states: frozenset[State]) -> bytes:
    """A set of states as the bytes that a script looks a record's second byte up in."""
    return bytes(sorted(_BYTES[state] for state in states))


@lru_cache(maxsize=1_024)
def queue_name(queue: Queue) -> str:
    """Part of a key. A name may hold anything, the comma too: percent-encoded (RFC 3986, section 2.1) it cannot."""
    return ",".join(map(zone_name, queue))


def zone_name(destination: str) -> str:
    """One destination as it stands in the name of a queue."""
    return quote(destination, safe="")


def encode_stray(stray: Stray) -> bytes:
    return _encode_stray((stray.destination, stray.key))


def encode_text(text: str) -> bytes:
    """As it stands in a record's facts."""
    return _encode_text(text)


def decode_stray(data: bytes) -> Stray:
    destination, key = _decode_stray(data)
    return Stray(destination=destination, key=key)


def event_in(cursor: str, flat: Sequence[bytes]) -> Event:
    """:param flat: names and values in turns, as the stream has them."""
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    reason = fields.get(b"reason")
    return Event(
        cursor=cursor,
        id=fields[b"id"].decode(),
        state=State(fields[b"state"].decode()),
        at=moment(int(fields[b"at"])),
        epoch=int(fields[b"epoch"]),
        reason=None if reason is None else _decode_reason(reason),
    )


@lru_cache(maxsize=256)  # one moment stands in the records of a whole batch, and several times in each
def milliseconds(at: datetime) -> int:
    """Unix milliseconds, in integers: a float of a timestamp would lose one now and then."""
    since = at - _EPOCH_START
    return since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000


def duration(of: timedelta) -> int:
    """Whole milliseconds, at least one: Redis refuses to keep anything for zero."""
    return max(of // timedelta(milliseconds=1), 1)


def moment(unix_milliseconds: int) -> datetime:
    return _EPOCH_START + timedelta(milliseconds=unix_milliseconds)
