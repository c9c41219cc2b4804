"""What a destination permits and requires, and how long things may take."""

from datetime import datetime, timedelta
from typing import Annotated, Literal

from msgspec import Meta, Struct

from broker.contract import Guarantees, Level
from broker.domain.errors import (
    BrokerError,
    ChecksumNotProvable,
    ContentTypeNotAllowed,
    SizeTooLarge,
    StrategyTooWeak,
)
from broker.domain.multipart import MAX_PART_BYTES, MIN_PART_BYTES
from broker.domain.objects import UploadSpec, declared

Guarantee = Literal["size", "content_type", "create_only", "checksum"]

_STRENGTH = {Level.ENFORCED: 3, Level.AT_HEAD: 2, Level.ON_READ: 1, Level.NONE: 0}


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The terms of one destination. Durations are parsed by the settings ("15m", "24h")."""

    max_size_bytes: Annotated[int, Meta(ge=0)] = 5_000_000_000_000
    content_types: tuple[str, ...] = ("*",)
    deadline: timedelta = timedelta(hours=24)
    url_ttl: timedelta = timedelta(minutes=15)
    require: tuple[Guarantee, ...] = ("size", "content_type", "create_only")
    # A slower client may be cut off: a store checks a PUT when it starts.
    min_rate_bytes_per_second: Annotated[int, Meta(ge=1)] = 1_048_576
    grace: timedelta = timedelta(seconds=60)
    first_look: timedelta = timedelta(seconds=2)
    longest_look_interval: timedelta = timedelta(seconds=60)
    max_failures: Annotated[int, Meta(ge=1)] = 5
    retry_base: timedelta = timedelta(seconds=2)
    retry_limit: timedelta = timedelta(minutes=10)
    retention: timedelta = timedelta(days=30)


class MultipartTerms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From which size `auto` cuts an object into parts, and how large they are unless 10,000 would not suffice."""

    threshold_bytes: Annotated[int, Meta(ge=0)] = 67_108_864
    part_size_bytes: Annotated[int, Meta(ge=MIN_PART_BYTES, le=MAX_PART_BYTES)] = 16_777_216


class ResumableTerms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From which size `auto` prefers an upload that goes on where it broke off."""

    threshold_bytes: Annotated[int, Meta(ge=0)] = 67_108_864


class Destination(Struct, frozen=True, kw_only=True):
    """Where objects go: one prefix of one bucket, and its terms."""

    name: str
    bucket: str
    prefix: str
    policy: Policy = Policy()
    multipart: MultipartTerms = MultipartTerms()
    resumable: ResumableTerms = ResumableTerms()
    processing: Literal["default", "none"] = "default"
    on_reject: Literal["delete", "keep"] = "delete"
    late: Literal["accept", "remove"] = "accept"


def admit(spec: UploadSpec, policy: Policy, *, max_size_bytes: int | None) -> None:
    """Refuses what the destination or the key does not permit.

    :param max_size_bytes: the key's own limit, if it has one.
    :raises SizeTooLarge, ContentTypeNotAllowed: naming the field.
    """
    limit = policy.max_size_bytes if max_size_bytes is None else min(policy.max_size_bytes, max_size_bytes)
    if spec.size_bytes > limit:
        raise SizeTooLarge.at("/size_bytes", f"at most {limit} bytes are permitted here")
    if not any(_matches(spec.content_type, pattern) for pattern in policy.content_types):
        raise ContentTypeNotAllowed.at("/content_type")


def demand(spec: UploadSpec, place: Destination, guarantees: Guarantees) -> None:
    """Compares what a strategy gives with what the destination requires. Never weakened silently.

    A required checksum must be declared and proved, by reading at the latest where anybody reads; the others must hold
    before any job exists.
    :raises StrategyTooWeak, ChecksumNotProvable:
    """
    for name in place.policy.require:
        if name == "checksum":
            if not declared(spec.checksum) or not _is_proved(guarantees.checksum, place):
                raise ChecksumNotProvable.at("/checksum")
        elif _STRENGTH[getattr(guarantees, name)] < _STRENGTH[Level.AT_HEAD]:
            raise _too_weak(name)


def demand_proof(of_one: Guarantees, of_all: Guarantees) -> None:
    """A digest must be proved by the store itself: a consumer reads one copy, and the others might be anything.

    :param of_one: what would hold if it alone were declared; of what HEAD shows, only `of_all` is judged.
    :raises ChecksumNotProvable:
    """
    if of_one.checksum is not Level.ENFORCED and _STRENGTH[of_all.checksum] < _STRENGTH[Level.AT_HEAD]:
        raise ChecksumNotProvable.at("/checksum")


def weaker(one: Guarantees, other: Guarantees) -> Guarantees:
    """What holds in both cases."""
    names = Guarantees.__struct_fields__
    levels = {name: min(getattr(one, name), getattr(other, name), key=_STRENGTH.__getitem__) for name in names}
    return Guarantees(**levels)


def _is_proved(level: Level, place: Destination) -> bool:
    return level is not Level.NONE and not (level is Level.ON_READ and place.processing == "none")


def _too_weak(name: str) -> BrokerError:
    return StrategyTooWeak.at("/strategy", f"this strategy cannot guarantee {name} here")


def grace(policy: Policy, size_bytes: int) -> timedelta:
    """How long after its last signed request expires an object may still land: the store checks when a PUT starts."""
    # Whole milliseconds, as the ledger keeps moments: rounded down there, a look would come early again and again.
    return policy.grace + timedelta(milliseconds=-(-size_bytes * 1_000 // policy.min_rate_bytes_per_second))


def next_look(policy: Policy, *, since: datetime, now: datetime) -> datetime:
    """1, 2, 4 … 60 s: waiting as long again as was waited already doubles without a counter."""
    waited = now - since
    return now + min(max(waited, timedelta(seconds=1)), policy.longest_look_interval)


def retry_delay(policy: Policy, failures: int) -> timedelta:
    """Doubling from `retry_base` up to `retry_limit`."""
    doubled = policy.retry_base.total_seconds() * 2.0 ** min(max(failures - 1, 0), 64)
    return timedelta(seconds=min(doubled, policy.retry_limit.total_seconds()))


def _matches(content_type: str, pattern: str) -> bool:
    essence = content_type.partition(";")[0].strip().lower()
    pattern = pattern.lower()
    if pattern in {"*", "*/*"}:
        return True
    return essence.startswith(pattern[:-1]) if pattern.endswith("/*") else essence == pattern
