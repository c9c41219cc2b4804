"""Copies: what the record of a fan-out says of each of them.

A fan-out is one upload to several destinations. Each copy is a session of its own, with its own id, key, looks and
capsule, that serves another: nobody sees it but through the session that it serves. What that one says of its copies is
all that is needed to answer for them; their own records may be forgotten earlier.
"""

from msgspec import Struct

from broker.contract import Guarantees, Reason, State, StoredObject


class Copy(Struct, frozen=True, kw_only=True, array_like=True):
    """One destination of a fan-out, as its session stands. `id` and `key` are empty while nobody knows them."""

    id: str
    destination: str
    bucket: str
    key: str
    guarantees: Guarantees
    state: State = State.PENDING
    stored: StoredObject | None = None
    reason: Reason | None = None
