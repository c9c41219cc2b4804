"""What else the ledger keeps: jobs, events, how much waits, whose ledger it is – and all of its rights at once."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from broker.contract import Reason, State
from broker.domain.queues import Zones
from broker.domain.sessions import Session
from broker.ports.looks import Looks
from broker.ports.sessions import Census, Listings, Sessions


class Jobs(Protocol):
    """Verified sessions waiting for a consumer. Visibility is a score: an expired lease is visible by itself."""

    async def lease(
        self, limit: int, *, worker: str, now: datetime, until: datetime, zones: Zones = None
    ) -> list[Session]:
        """Up to `limit` visible jobs of `zones`, each with its epoch raised and invisible until `until`.

        Of a shard those first that are visible longest. What is not of `zones` costs nothing, however much of it waits.
        """

    async def renew(self, session_id: str, epoch: int, *, until: datetime, zones: Zones = None) -> Session | None:
        """Keeps the job invisible until `until`. None when `epoch` is not the current lease, or it is none of `zones`.

        :raises LedgerUnavailable: also when its record cannot be read.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One transition, as it stands in the stream."""

    cursor: str
    id: str
    state: State
    at: datetime
    epoch: int
    reason: Reason | None = None  # why it ended badly


class Events(Protocol):
    """Every transition, in order per session. Kept for a week, and longer for a reader who is late."""

    def read(self, shard: int, after: str = "0") -> AsyncIterator[Event]:
        """What shard `shard` recorded after cursor `after`, up to now. A cursor is "milliseconds-number"."""

    async def end(self, shard: int) -> str:
        """The cursor after which there is nothing yet: what is read after it came later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """What is wrong with the ledger now, and what will be wrong if nobody acts: one sentence each."""

    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How much waits in the ledger, over all shards."""

    looks: int  # scheduled, whether due or not
    looks_due: int
    oldest_look: datetime | None  # since when the oldest is due
    jobs_visible: int
    oldest_job: datetime | None  # since when the oldest is visible
    jobs_hidden: int  # leased, or put off for another try
    events: int


class Schedule(Protocol):
    """How much is waiting: for readiness, idle waits and people."""

    async def backlog(self, *, now: datetime) -> Backlog:
        """
        :raises LedgerUnavailable:
        """

    async def next_due(self) -> datetime | None:
        """The earliest scheduled look of any shard."""

    async def check(self) -> Checkup:
        """How the ledger is at this moment. Never raises."""


class Identity(Protocol):
    """Whose ledger this is: one random id, also noted in every destination, so that neither is taken for another."""

    async def store_id(self) -> str | None:
        """None in a ledger that is new, was emptied, or is not the one that was meant."""

    async def claim(self, store_id: str) -> str:
        """Gives the ledger this id, unless it has one. The id that holds."""

    async def adoption_floor(self, destination: str) -> datetime | None:
        """What was minted there up to this moment is not adopted any more, whoever comes upon it; None: nobody said."""

    async def set_adoption_floor(self, destination: str, created_after: datetime) -> None:
        """Whole milliseconds, rounded down."""


class Ledger(Sessions, Listings, Census, Looks, Jobs, Events, Schedule, Protocol):
    """All rights at once. `shards` is how many the ids are spread over."""

    @property
    def shards(self) -> int: ...
