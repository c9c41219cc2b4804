"""Who is told what becomes of sessions: what is still to tell, what was told, and the way to a receiver."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from broker.domain.sessions import Session
from broker.domain.webhooks import Attempt
from broker.ports.ledger import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The first thing that one webhook must still be told of one session, claimed until `until`."""

    webhook: str
    id: str
    cursor: str
    attempt: int  # this one; the first is 1
    since: datetime  # when it happened, or was asked for again
    until: datetime
    event: Event | None  # None: trimmed since
    session: Session | None  # as it stands now; None: forgotten since


class Outbox(Protocol):
    """How far a webhook has been told, and what it must still be told, in order per session."""

    async def cursor(self, shard: int, webhook: str) -> str:
        """Where the next page begins. A webhook without a cursor gets one: the end of the stream."""

    async def fan_out(
        self, shard: int, webhook: str, events: Sequence[Event], *, after: str, to: str, now: datetime
    ) -> bool:
        """Moves the cursor from `after` to `to` and remembers `events`, in one atomic step.

        False when the cursor stands elsewhere: another relay has done it.
        """


class Deliveries(Protocol):
    """What is due to be told. A claim that is not settled comes back: at least once."""

    async def claim(self, webhook: str, limit: int, *, now: datetime, hold: timedelta) -> list[Delivery]:
        """Up to `limit` that are due, of each session only the first, so that order holds."""

    async def settle(self, delivery: Delivery, attempt: Attempt, *, again_at: datetime | None) -> bool:
        """Writes the log, and tries again at `again_at`, or drops it (None). True when the session's next is due now.

        A failure is heard only from who claimed it last; that it need not be told again is heard from anybody.
        """


class DeliveryLog(Protocol):
    """For people: what was told, and telling it again."""

    async def attempts(self, webhook: str) -> list[Attempt]:
        """The newest ten thousand or so, oldest first."""

    async def replay(self, shard: int, webhook: str, events: Sequence[Event], *, now: datetime) -> int:
        """Remembers `events` as if they had happened now, each in its place; what waits already is due at once.

        How many were not waiting.
        """

    async def waiting(self) -> dict[str, int]:
        """Of how many sessions each webhook must still be told, by name: all that the ledger has heard of."""

    async def forget(self, webhook: str) -> bool:
        """Its cursor, all that it must still be told, and its log. False when there was nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one POST: a status, or the class of the trouble that came instead."""

    status: int | None = None
    error: str | None = None
    retry_after: timedelta | None = None


class Sender(Protocol):
    """The way to one receiver."""

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Sends once and follows nothing. Never raises: no answer is an answer."""
