"""A file on its way through the rooms of a run. Plain structs that the garbage collector leaves alone: there are
thousands of them a second, and none holds another."""

import math

from msgspec import Struct

from broker.contract import Checksum, SignedRequest
from uploader.tree.rows import Row


class Small(Struct, gc=False, kw_only=True):
    """A file in memory.

    :ivar md5: of the body, or empty: the store proves its content by itself.
    :ivar dies_at: when its request is of no use any more, on the monotonic clock.
    :ivar begun_at: its first PUT.
    :ivar refusals: signatures that the store did not take.
    :ivar delays: how often the broker had no request for it yet. `fruitless`: since it had one for any other.
    :ivar delayed_at: the last of them.
    """

    row: Row
    body: bytes
    checksum: Checksum
    md5: bytes = b""
    session_id: str = ""
    request: SignedRequest | None = None
    dies_at: float = math.inf
    begun_at: float = 0.0
    attempts: int = 0
    refusals: int = 0
    delays: int = 0
    fruitless: int = 0
    delayed_at: float = 0.0


class Unseen(Struct, gc=False, kw_only=True):
    """A file that was sent, and that nobody has looked at.

    :ivar sent_at: on the monotonic clock.
    :ivar asked: how often.
    :ivar proved: the digest by which the store has what was sent.
    """

    row: Row
    session_id: str
    sent_at: float
    asked: int = 0
    proved: str | None = None
    is_noted: bool = False
    is_verified: bool = False
