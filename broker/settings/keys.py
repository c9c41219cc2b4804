"""Who may ask the broker, and for what."""

from typing import Annotated

from msgspec import Meta, Struct

from broker.domain.principals import ANY_DESTINATION, MAX_SESSIONS_PER_SECOND, Role

KeyHash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]


class KeySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An API key at rest: `hash` is the hexadecimal SHA-256 of its text, `hashes` two while it is being rotated."""

    hash: KeyHash | None = None
    hashes: tuple[KeyHash, ...] = ()
    roles: frozenset[Role]
    destinations: tuple[str, ...] = (ANY_DESTINATION,)
    max_size_bytes: Annotated[int, Meta(ge=0)] | None = None
    sessions_per_second: Annotated[float, Meta(gt=0, le=MAX_SESSIONS_PER_SECOND)] | None = None
    burst: Annotated[int, Meta(ge=1)] | None = None
    max_pending_sessions: Annotated[int, Meta(ge=0)] | None = None
    max_pending_bytes: Annotated[int, Meta(ge=0)] | None = None
