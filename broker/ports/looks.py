"""Looks that are due, and how they are claimed.

A claim lasts a while; the look comes back unless it was settled or put off, so that a process that dies delays it, no
more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from broker.domain.sessions import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """An object under a session-shaped key whose session the ledger does not know."""

    destination: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DueLook:
    """One claimed look. `claim` is what the schedule said after claiming; an event that comes meanwhile changes it."""

    id: str
    claim: int
    session: Session | None
    stray: Stray | None = None

    @property
    def destination(self) -> str:
        """Where it leads; empty when neither session nor object is known."""
        if self.session:
            return self.session.facts.destination
        return self.stray.destination if self.stray else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What a look came to.

    :ivar session: as it stands afterwards, or None where there is none.
    :ivar is_answered: the store has said what is there. False: it is in trouble, or not configured here, and the look
        was put off; or nothing lies there under this session's own name.
    """

    session: Session | None
    is_answered: bool


class Looking(Protocol):
    """One look at one session, by whoever does it."""

    async def __call__(self, due: DueLook) -> Looked: ...


class Looks(Protocol):
    """When a session must be looked at next. Events, hints, reconciliation and deadlines are this one schedule."""

    async def hint(self, session_id: str, stray: Stray | None, *, now: datetime) -> bool:
        """Moves the next look to now, because the bucket told. True if that changed the schedule.

        Settled sessions ignore it, and so does one of another destination than `stray` names: two buckets may have the
        same name, and who may speak of one may not speak of the other. An unknown id is scheduled with `stray`, if one
        is given, so that its capsule can be read.
        """

    async def hint_many(self, hints: Sequence[tuple[str, Stray | None]], *, now: datetime) -> int:
        """The same for many, in one step a shard, which nobody else waits for long if they are some hundred at most.

        How many entries of the schedule changed.
        """

    async def doubt(self, session_id: str, destination: str | None, *, now: datetime) -> bool:
        """Moves the next look of a session whose object was verified to now, because the bucket told that it went.

        True if that changed the schedule. Every other session ignores it: what is not verified yet is looked at
        anyway, and what came to nothing we remove ourselves. So does one of another destination, if one is named.
        """

    async def claim(self, limit: int, *, now: datetime, hold: timedelta) -> list[DueLook]:
        """Up to `limit` looks that are due. Each comes back after `hold` unless it is settled or postponed."""

    async def claim_one(self, session_id: str, *, now: datetime, hold: timedelta, every: timedelta) -> DueLook | None:
        """This session's look, whether due or not; None when it was claimed this way less than `every` ago."""

    async def postpone(self, look: DueLook, until: datetime | None) -> None:
        """Puts a claimed look off, or drops it (None); unless an event came since, which then stands."""
