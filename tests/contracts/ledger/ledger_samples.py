"""Sessions and their vocabulary, for every test of a ledger."""

import asyncio
import base64
import hashlib
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from broker.contract import Checksum, Guarantees, Level, State
from broker.domain.keys import new_session_id
from broker.domain.objects import ObjectInfo, UploadSpec
from broker.domain.policy import Destination, Policy
from broker.domain.sessions import Facts, Session, begin, verify
from broker.ledger.wire import Wire
from broker.ports import Event, Idempotency, Ledger, NewSession, Stray

PRINCIPAL = "app"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOLD = 30 * SECOND
DAY = timedelta(days=1)

POLICY = Policy()
DESTINATION = Destination(name="default", bucket="acme-uploads", prefix="uploads", policy=POLICY)
INFO = ObjectInfo(size_bytes=10_485_760, content_type="text/csv", etag="d41d8cd98f00b204e9800998ecf8427e")
STRAY = Stray(destination="default", key="uploads/x/report.csv")
SPEC = UploadSpec(
    filename="report.csv",
    size_bytes=10_485_760,
    content_type="text/csv",
    checksum=Checksum(sha256=base64.b64encode(hashlib.sha256(b"").digest()).decode()),
)


def a_session(shard: int = 0, *, at: datetime = NOW, session_id: str | None = None, **changes: Any) -> Session:
    """Pending, with a key, one sha256 and one pair of metadata; `changes` are of its facts."""
    session_id = session_id or new_session_id(shard)
    facts = Facts(
        principal=PRINCIPAL,
        destination=DESTINATION.name,
        bucket=DESTINATION.bucket,
        key=f"uploads/{session_id}/report.csv",
        spec=SPEC,
        guarantees=Guarantees(
            size=Level.ENFORCED, content_type=Level.ENFORCED, create_only=Level.ENFORCED, checksum=Level.ENFORCED
        ),
        created_at=at,
        expires_at=at + DAY,
        requests_end_at=at + 900 * SECOND,
        metadata={"case": "17"},
    )
    return begin(session_id, replace(facts, **changes), at)


def a_new(session: Session, *, look_at: datetime = NOW, idempotency: Idempotency | None = None) -> NewSession:
    return NewSession(session=session, look_at=look_at, idempotency=idempotency)


def an_idempotency(key: str = "k" * 32, body: str = "b" * 32, keep_for: timedelta = DAY) -> Idempotency:
    return Idempotency(key=key, body=body, keep_for=keep_for)


async def created(ledger: Ledger, shard: int = 0, *, look_at: datetime = NOW, **changes: Any) -> Session:
    session = a_session(shard % ledger.shards, **changes)
    return (await ledger.create(session, look_at=look_at, idempotency=None)).session


async def verified(ledger: Ledger, shard: int = 0, *, now: datetime = NOW, **changes: Any) -> Session:
    """A job that is visible at `now`."""
    change = verify(await created(ledger, shard, **changes), INFO, DESTINATION, now)
    assert await ledger.apply(change)
    return change.after


async def leased(ledger: Ledger, *, now: datetime = NOW, until: datetime = NOW + HOLD) -> Session:
    (session,) = await ledger.lease(1, worker="worker-1", now=now, until=until)
    return session


async def events_of(ledger: Ledger, session: Session) -> list[Event]:
    shard = int(session.id[:2], 16)
    return [event async for event in ledger.read(shard) if event.id == session.id]


async def states_of(ledger: Ledger, session: Session) -> list[tuple[State, int]]:
    return [(event.state, event.epoch) for event in await events_of(ledger, session)]


async def eventually(happened: Callable[[], Awaitable[bool]], *, within: float = 5.0) -> None:
    end = time.monotonic() + within
    while not await happened():
        assert time.monotonic() < end, f"did not happen within {within} s"
        await asyncio.sleep(0.01)


async def used_memory(wire: Wire) -> int:
    """Without what a busy machine leaves waiting: writes for a slow disk, and clients' buffers."""
    lines = [line.partition(":") for line in (await wire.call("INFO", "memory")).decode().splitlines()]
    told = {name: value for name, _, value in lines}
    return int(told["used_memory"]) - int(told["mem_aof_buffer"]) - int(told["mem_clients_normal"])
