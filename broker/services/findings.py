"""Findings: what the ledger knows of what a listing shows. Everything that deletes or adopts begins here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from broker.contract import State
from broker.domain.keys import mark_key, session_id_in
from broker.domain.policy import Destination
from broker.domain.sessions import Session, tombstone_of
from broker.domain.tombstones import Tombstone, permits_removal
from broker.ports import ListedObject, Sessions, Tombstones, UnfinishedUpload

# "Authenticating Requests": a store refuses clocks that are further off, so its own is not.
SKEW = timedelta(minutes=15)

Listed = TypeVar("Listed", ListedObject, UnfinishedUpload)


class Standing(StrEnum):
    """How an object stands with the ledger."""

    LIVE = "live"  # its session is pending, or came to something
    REMOVABLE = "removable"  # a tombstone permits that it goes
    KEPT = "kept"  # a tombstone, but it is too early or the policy says keep
    LATE = "late"  # came after its session expired, and may still be what was wanted
    UNKNOWN = "unknown"  # the ledger may be the one that forgot
    FORGOTTEN = "forgotten"  # older than any record is kept: nobody can say, nobody will touch it
    FOREIGN = "foreign"  # not a key of our making, or not that of its session
    MARK = "mark"  # our own note


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding(Generic[Listed]):
    """One listed thing and its session's record and tombstone, as they were after it was listed."""

    listed: Listed
    session_id: str | None
    session: Session | None = None
    tombstone: Tombstone | None = None

    @property
    def is_known(self) -> bool:
        return self.session is not None or self.tombstone is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Find:
    """Lookups in bulk. In this order – first listed, then looked up – no new session can look like an unknown one."""

    sessions: Sessions
    tombstones: Tombstones

    async def __call__(self, place: Destination, page: Sequence[Listed]) -> list[Finding[Listed]]:
        """:raises LedgerUnavailable: also when one record cannot be read: then nobody may judge by what is missing."""
        ids = [session_id_in(place.prefix, each.key) for each in page]
        wanted = [session_id for session_id in dict.fromkeys(ids) if session_id is not None]
        if not wanted:
            return [Finding(listed=each, session_id=None) for each in page]
        records = dict(zip(wanted, await self.sessions.get_many(wanted), strict=True))
        graves = dict(zip(wanted, await self.tombstones.find_many(wanted), strict=True))
        return [
            Finding(
                listed=each,
                session_id=session_id,
                session=records[session_id] if session_id else None,
                tombstone=_grave(records[session_id], graves[session_id], place) if session_id else None,
            )
            for each, session_id in zip(page, ids, strict=True)
        ]


def standing(found: Finding[ListedObject], place: Destination, *, floor: datetime, now: datetime) -> Standing:
    """:param floor: an object that was written well before it is too old to be adopted: it was minted even earlier."""
    listed, session = found.listed, found.session
    if found.session_id is None:
        return Standing.MARK if listed.key == mark_key(place.prefix) else Standing.FOREIGN
    if session is not None and not is_of(session, place, listed.key):
        return Standing.FOREIGN
    if found.tombstone is not None:
        return _buried(found, found.tombstone, place, now)
    if session is not None:
        return Standing.LIVE
    return Standing.FORGOTTEN if listed.last_modified <= floor - SKEW else Standing.UNKNOWN


def is_of(session: Session, place: Destination, key: str) -> bool:
    """Whether this is the key that the session was given, in the destination that it was given for."""
    facts = session.facts
    return (facts.destination, facts.bucket, facts.key) == (place.name, place.bucket, key)


def _buried(found: Finding[ListedObject], tombstone: Tombstone, place: Destination, now: datetime) -> Standing:
    listed = found.listed
    if tombstone.state is State.EXPIRED and place.late == "accept" and found.session and listed.is_latest:
        return Standing.LATE
    if not listed.is_latest and listed.version is None:
        return Standing.KEPT  # "null" names no version: what would go is the latest
    return Standing.REMOVABLE if permits_removal(tombstone, place, now) else Standing.KEPT


def _grave(session: Session | None, tombstone: Tombstone | None, place: Destination) -> Tombstone | None:
    """A record that came to nothing is its own tombstone; one that did not makes void whatever stands there."""
    return tombstone if session is None else tombstone_of(session, place.policy)
