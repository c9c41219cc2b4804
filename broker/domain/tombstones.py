"""Tombstones: what remains of a session that came to nothing, long after its record – all that permits a deletion.

That the ledger does not know an object is never a reason to remove it: the ledger may be the one that forgot. Only a
tombstone says that it did know, and that nobody wants these bytes.
"""

from datetime import datetime, timedelta

from msgspec import Struct

from broker.contract import State
from broker.domain.policy import Destination

BURIED = frozenset({State.EXPIRED, State.REJECTED, State.ABORTED})  # states that leave a tombstone

OUTLIVES = timedelta(days=30)  # ours: how much longer than the record it stands


class Tombstone(Struct, frozen=True, kw_only=True):
    """`quiet_at` is from when no signed request of the session can put bytes under its key any more."""

    state: State
    quiet_at: datetime


def is_kept(state: State, place: Destination) -> bool:
    """Whether bytes stay although nobody wants them: `on_reject` speaks of what was judged unfit."""
    if state is State.ABORTED or (state is State.EXPIRED and place.late == "remove"):
        return False
    return place.on_reject == "keep"


def permits_removal(tombstone: Tombstone, place: Destination, now: datetime) -> bool:
    """Whether our own bytes may go. Where late ones are welcome, those of an expired session may be what was wanted."""
    if now < tombstone.quiet_at or (tombstone.state is State.EXPIRED and place.late == "accept"):
        return False
    return not is_kept(tombstone.state, place)
