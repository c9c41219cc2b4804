"""Who may take which job: a job waits in the queue of the destinations from which it can be read.

A consumer takes from every queue that holds one of its zones, and from no other: what it is given is a read.
"""

from collections.abc import Set as AbstractSet
from typing import TypeAlias

from broker.contract import State
from broker.domain.fan_out import destinations_of
from broker.domain.sessions import Session

Queue: TypeAlias = tuple[str, ...]  # names of destinations, sorted, each once
Zones: TypeAlias = AbstractSet[str] | None  # the destinations that a consumer may read from; None: all


def queue_of(session: Session) -> Queue:
    """The destinations from which the job of this session can be read: of a fan-out those of its verified copies.

    When the last of them is gone, all of its destinations: whoever is given the job then finds out, and it fails.
    """
    verified = {copy.destination for copy in session.facts.copies if copy.state is State.VERIFIED}
    return tuple(sorted(verified or destinations_of(session)))


def held_in(session: Session) -> Queue:
    """The destinations from which whoever holds its job may have read it: also those of copies that are gone since."""
    read = {copy.destination for copy in session.facts.copies if copy.state in {State.VERIFIED, State.FAILED}}
    return tuple(sorted(read or {session.facts.destination}))


def is_within(queue: Queue, zones: Zones) -> bool:
    """Whether a consumer of these zones can read what waits in `queue`."""
    return zones is None or not zones.isdisjoint(queue)
