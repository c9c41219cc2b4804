"""Who may call: API keys `ub_<id>_<secret>`, their roles and limits. Only a SHA-256 of a key is ever kept."""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from math import ceil

import msgspec
from msgspec import Struct

from broker.domain.errors import ConfigurationInvalid, Forbidden, Unauthenticated

ANY_DESTINATION = "*"
MAX_SESSIONS_PER_SECOND = 1_000_000  # ours: a turn takes a microsecond at least
_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NO_HASH = hashlib.sha256(b"").hexdigest()


class Role(StrEnum):
    """What a key is for. A key of one role is refused on the routes of another."""

    MINT = "mint"
    CONSUME = "consume"
    ERASE = "erase"
    OBSERVE = "observe"
    ADMIN = "admin"


class Rate(Struct, frozen=True, kw_only=True):
    """So many a second, and so many at once by who saved them up."""

    per_second: float
    burst: int


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key as it rests. Two hashes may be live at once, so that a key can be rotated without a gap."""

    id: str
    hashes: tuple[str, ...]
    roles: frozenset[Role]
    destinations: tuple[str, ...] = (ANY_DESTINATION,)
    max_size_bytes: int | None = None
    created_at: datetime | None = None
    sessions_per_second: float | None = None
    burst: int | None = None  # None: what a second gives
    max_pending_sessions: int | None = None
    max_pending_bytes: int | None = None
    generation: int = 0  # how often a key of this id was revoked before; tokens of an earlier one open nothing

    @property
    def rate(self) -> Rate | None:
        """How often it may mint; None: as often as it likes."""
        if self.sessions_per_second is None:
            return None
        burst = ceil(self.sessions_per_second) if self.burst is None else self.burst
        return Rate(per_second=self.sessions_per_second, burst=burst)

    def require(self, role: Role) -> None:
        """:raises Forbidden: the key has neither this role nor `admin`."""
        if role not in self.roles and Role.ADMIN not in self.roles:
            raise Forbidden

    def may_see(self, principal: str, destinations: Iterable[str]) -> bool:
        """Whether a session exists for this key that `principal` minted into these destinations: who sees it gets
        reads of it, so that an admin's own destinations bound him here, too."""
        return principal == self.id or (Role.ADMIN in self.roles and all(map(self.may_use, destinations)))

    @property
    def zones(self) -> frozenset[str] | None:
        """The destinations whose jobs it may take; None: all."""
        return None if ANY_DESTINATION in self.destinations else frozenset(self.destinations)

    def may_use(self, destination: str) -> bool:
        return ANY_DESTINATION in self.destinations or destination in self.destinations


class Standing(Struct, frozen=True, kw_only=True):
    """What was said of a key id since, wherever the key itself is kept."""

    generation: int = 0
    is_revoked: bool = False

    def of(self, api_key: ApiKey) -> ApiKey | None:
        """The key as it stands now; None while it is revoked."""
        if self.is_revoked:
            return None
        return msgspec.structs.replace(api_key, generation=self.generation) if self.generation else api_key


def new_key_text(key_id: str) -> str:
    """The text that its holder keeps; shown once.

    :raises ConfigurationInvalid: the id would not survive in a header.
    """
    check_key_id(key_id)
    return f"ub_{key_id}_{base64.b32encode(secrets.token_bytes(30)).decode().lower()}"


def check_key_id(key_id: str) -> None:
    """:raises ConfigurationInvalid: not 1 to 64 letters, digits, dots, dashes or underscores."""
    if not _KEY_ID.fullmatch(key_id):
        raise ConfigurationInvalid(f"{key_id!r} is no key id: 1 to 64 of A-Z a-z 0-9 . _ -")


def hash_of(key_text: str) -> str:
    """SHA-256 is enough: the secret has 240 random bits, there is nothing to guess slowly."""
    return hashlib.sha256(key_text.encode(errors="replace")).hexdigest()


def key_id_in(key_text: str) -> str:
    """The public id in a key's text.

    :raises Unauthenticated: it is not the text of a key.
    """
    kind, _, rest = key_text.partition("_")
    key_id, _, secret = rest.rpartition("_")
    if kind != "ub" or not _KEY_ID.fullmatch(key_id) or not secret:
        raise Unauthenticated
    return key_id


def is_key(api_key: ApiKey | None, key_text: str) -> bool:
    """Constant time over the hash, also when there is no such key."""
    given = hash_of(key_text)
    hashes = api_key.hashes if api_key else (_NO_HASH,)
    return any([hmac.compare_digest(known, given) for known in hashes]) and api_key is not None  # noqa: C419
