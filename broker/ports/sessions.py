"""The ledger's records of sessions: write, change, find, list and count them.

A change carries schedules and event with it, so that record, looks, jobs and events never tell different stories.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from msgspec import Struct

from broker.contract import State
from broker.domain.errors import BrokerError
from broker.domain.sessions import Change, Session
from broker.domain.tombstones import Tombstone


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """Scope and fingerprint of a request that may be sent again."""

    key: str  # hash of principal, route and Idempotency-Key
    body: str  # hash of the canonical body
    keep_for: timedelta


class Created(Struct, frozen=True, kw_only=True):
    """`session` is the one that holds now: the new one, or the one that the same request made before."""

    session: Session
    is_replay: bool


class NewSession(Struct, frozen=True, kw_only=True):
    """A session that begins, its first look, and how to know the request that asks for it when it is sent again.

    `copies` begin in the same step, or not at all: sessions of the same shard that serve this one. They are found by
    their ids alone: in no listing, without an event, and not counted as pending.
    """

    session: Session
    look_at: datetime
    idempotency: Idempotency | None = None
    copies: tuple["NewSession", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a principal has pending: sessions, and the bytes that they declared."""

    sessions: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How much a principal may have pending at once; None is without end."""

    sessions: int | None = None
    size_bytes: int | None = None


class Sessions(Protocol):
    """Records, and the one way to change them."""

    async def create(
        self,
        session: Session,
        *,
        look_at: datetime,
        idempotency: Idempotency | None,
        quota: Quota | None = None,
        copies: tuple[NewSession, ...] = (),
    ) -> Created:
        """Writes a new pending session, its first look and its event; or finds the one of the same request.

        It counts as pending for its principal until a change settles it. A quota is exact with one shard; with several,
        callers at the same moment may together pass it by what each of them asks for.
        :raises IdempotencyKeyReused: the same key came with another body.
        :raises QuotaExceeded: it would be more than `quota`; what the same request made before is found all the same.
        """

    async def create_many(
        self, items: Sequence[NewSession], *, quota: Quota | None = None
    ) -> list[Created | BrokerError]:
        """The same for many, in order: what `create` would return or raise. No item spoils another.

        The caller guarantees that they have one principal. It takes many steps, each of them atomic.
        """

    async def get(self, session_id: str) -> Session | None: ...

    async def get_many(self, session_ids: Sequence[str]) -> list[Session | None]:
        """In the order asked for."""

    async def apply(self, change: Change, *more: Change, begins: NewSession | None = None) -> bool:
        """Writes record, schedules and event in one atomic step, if the record still has `before`'s revision.

        Several changes, all of one shard, are written together or not at all; and with them a copy that `begins`.
        False when a record has another revision: read again and decide again.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which sessions of one principal; None takes them all."""

    principal: str
    state: State | None = None
    batch: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Between two sessions of a listing: behind the one with this id, created at this millisecond."""

    created_at: datetime
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A piece of a listing. `end` is where the next one begins; None: there is nothing more."""

    sessions: list[Session]
    end: Position | None


class Listings(Protocol):
    """What a principal has. Sessions that the ledger has forgotten are left out."""

    async def find(self, selection: Selection, *, after: Position | None, limit: int) -> Page:
        """The newest first, by creation and then by id, from `after` on: at most `limit`.

        The work is bounded, so a page may be short or empty and yet not the last. What is created meanwhile belongs
        before the first page and disturbs none.
        """

    async def usage(self, principal: str) -> Usage:
        """What the principal has pending, on all shards."""


class Census(Protocol):
    """Going through everything: for an operator at a shell, never for a request."""

    def in_state(self, state: State) -> AsyncIterator[Session]:
        """Every session that stands in `state`, each once, in no order; no copies, which have no jobs.

        What changes meanwhile may be missed.
        """


class Tombstones(Protocol):
    """What remains of sessions that came to nothing, whether their records live or not."""

    async def find_many(self, session_ids: Sequence[str]) -> list[Tombstone | None]:
        """In the order asked for."""
