"""Admission: what a request must be before anything is minted for it, and by which strategy it is uploaded."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from random import randrange
from typing import Literal, NamedTuple

import msgspec

from broker.contract import MAX_METADATA_BYTES, MAX_OBJECT_METADATA_BYTES, CreateUploadSession, Guarantees
from broker.domain.errors import (
    BrokerError,
    ChecksumNotProvable,
    IdempotencyKeyInvalid,
    InvalidInput,
    MetadataTooLarge,
    SizeTooLarge,
    StrategyTooWeak,
    UnknownDestination,
)
from broker.domain.keys import shard_for
from broker.domain.multipart import Multipart, cut
from broker.domain.objects import UploadSpec, check_checksum, check_object_metadata, declared, with_one_digest
from broker.domain.policy import admit, demand, demand_proof
from broker.domain.principals import ApiKey
from broker.ports import Bucket, Buckets, Idempotency

MAX_PUT_BYTES = 5 * 2**30  # S3 PutObject: "up to 5 GB" in a single operation, and so with GCS and R2
DEFAULT = "default"  # the destination of those who name none
IDEMPOTENCY_AT_LEAST = timedelta(hours=24)
Strategy = Literal["auto", "put", "multipart", "resumable"]
_canonical = msgspec.json.Encoder(order="deterministic").encode


class Choice(NamedTuple):
    """How an object is uploaded, and who then keeps which promise. `multipart` is the cut, if it goes in parts."""

    strategy: Strategy
    guarantees: Guarantees
    multipart: Multipart | None = None


def choose(strategy: Strategy, spec: UploadSpec, bucket: Bucket, *, proves: str | None = None) -> Choice:
    """How this object is uploaded. `auto` never picks what is too weak.

    :param proves: of the declared digests the one that the store must prove by itself: it is a copy's.
    :raises StrategyTooWeak, ChecksumNotProvable, SizeTooLarge: nothing that is permitted will do.
    """
    refusal = None
    for name in _candidates(spec, bucket, is_copy=proves is not None) if strategy == "auto" else (strategy,):
        try:
            return _ADMIT[name](spec, bucket, proves)
        except InvalidInput as exc:
            refusal = refusal or exc
    raise refusal or StrategyTooWeak


def instead(strategy: Strategy, spec: UploadSpec, bucket: Bucket) -> Choice | None:
    """How it goes while no PUT can be signed: by what the store opens, if nobody named a strategy. None: not at all."""
    if strategy != "auto":
        return None
    try:
        return choose("resumable", spec, bucket)
    except InvalidInput:
        return None


def _candidates(spec: UploadSpec, bucket: Bucket, *, is_copy: bool) -> tuple[Strategy, ...]:
    """The first choice first. A small object is one PUT; of a large one as little as possible is ever sent twice."""
    place, size = bucket.destination, spec.size_bytes
    if bucket.resumable is None or is_copy:
        return ("multipart", "put") if size > place.multipart.threshold_bytes else ("put", "multipart")
    if size > place.resumable.threshold_bytes:
        return ("resumable", "multipart", "put")
    return ("put", "resumable", "multipart")


def agree(strategy: Strategy, spec: UploadSpec, buckets: Sequence[Bucket]) -> tuple[str, list[Choice]]:
    """The digest that each of these stores proves by itself: nobody compares copies, so they are equal only by one.
    And how each then takes the object.

    :raises ChecksumNotProvable: naming those that cannot.
    :raises SizeTooLarge: it could only go in parts.
    :raises StrategyTooWeak:
    """
    if strategy == "resumable":
        raise StrategyTooWeak.at("/strategy", "copies are not uploaded in that way")
    doubts = []
    for digest in declared(spec.checksum):
        choices, unable = list[Choice](), list[str]()
        for bucket in buckets:
            try:
                choices.append(choose(strategy, spec, bucket, proves=digest))
            except (ChecksumNotProvable, SizeTooLarge):
                unable.append(bucket.destination.name)
        if not unable:
            return digest, choices
        doubts.append(f"{digest} not by {', '.join(unable)}")
    if spec.size_bytes > MAX_PUT_BYTES:
        limit = (
            f"a copy takes at most {MAX_PUT_BYTES} bytes: it is a single PUT, since no store proves digests of parts"
        )
        raise SizeTooLarge.at("/size_bytes", limit)
    raise ChecksumNotProvable.at(
        "/checksum", f"every store must prove the same digest by itself: {'; '.join(doubts) or 'none is declared'}"
    )


def _put(spec: UploadSpec, bucket: Bucket, proves: str | None) -> Choice:
    if spec.size_bytes > MAX_PUT_BYTES:
        raise SizeTooLarge.at("/size_bytes", f"a single PUT takes at most {MAX_PUT_BYTES} bytes")
    guarantees = bucket.put.binds(spec)
    demand(spec, bucket.destination, guarantees)
    if proves:
        demand_proof(bucket.put.binds(with_one_digest(spec, proves)), guarantees)
    return Choice("put", guarantees)


def _multipart(spec: UploadSpec, bucket: Bucket, proves: str | None) -> Choice:
    if bucket.multipart is None or spec.size_bytes == 0:
        raise StrategyTooWeak.at("/strategy", "this object cannot be uploaded in parts here")
    guarantees = bucket.multipart.signer.binds(spec)
    demand(spec, bucket.destination, guarantees)
    if proves:
        demand_proof(bucket.multipart.signer.binds(with_one_digest(spec, proves)), guarantees)
    return Choice("multipart", guarantees, cut(spec.size_bytes, bucket.destination.multipart.part_size_bytes))


def _resumable(spec: UploadSpec, bucket: Bucket, proves: str | None) -> Choice:
    if bucket.resumable is None or spec.size_bytes == 0 or proves:
        # Of nothing at all, to ask how much is there would be to send it.
        raise StrategyTooWeak.at("/strategy", "this object cannot be uploaded in that way here")
    guarantees = bucket.resumable.binds(spec)
    demand(spec, bucket.destination, guarantees)
    return Choice("resumable", guarantees)


_ADMIT: dict[Strategy, Callable[[UploadSpec, Bucket, str | None], Choice]] = {
    "put": _put,
    "multipart": _multipart,
    "resumable": _resumable,
}


def bucket_of(buckets: Buckets, api_key: ApiKey, name: str, *, at: str = "/destination") -> Bucket:
    """:param at: pointer to the name.
    :raises UnknownDestination: there is none, or not for this key.
    """
    bucket = buckets.get(name)
    if bucket is None or not api_key.may_use(name):
        raise UnknownDestination.at(at)
    return bucket


def admitted(wish: CreateUploadSession, bucket: Bucket, api_key: ApiKey) -> UploadSpec:
    """:raises InvalidInput: a subclass naming the field."""
    spec = UploadSpec(
        filename=wish.filename,
        size_bytes=wish.size_bytes,
        content_type=wish.content_type,
        checksum=wish.checksum,
        object_metadata=wish.object_metadata,
    )
    admit(spec, bucket.destination.policy, max_size_bytes=api_key.max_size_bytes)
    check_checksum(wish.checksum)
    check_object_metadata(wish.object_metadata)
    _bounded(wish.metadata, MAX_METADATA_BYTES, "/metadata")
    _bounded(wish.object_metadata, MAX_OBJECT_METADATA_BYTES, "/object_metadata")
    return spec


def _bounded(metadata: dict[str, str], limit_bytes: int, pointer: str) -> None:
    if metadata and len("".join([*metadata, *metadata.values()]).encode()) > limit_bytes:
        raise _too_large(pointer, limit_bytes)


def _too_large(pointer: str, limit_bytes: int) -> BrokerError:
    return MetadataTooLarge.at(pointer, f"names and values together take at most {limit_bytes} bytes")


def idempotency_of(
    api_key: ApiKey, wish: CreateUploadSession, idempotency_key: str | None, deadline: timedelta
) -> Idempotency | None:
    """:raises IdempotencyKeyInvalid:"""
    if idempotency_key is None:
        return None
    if not (1 <= len(idempotency_key) <= 255 and idempotency_key.isascii() and idempotency_key.isprintable()):
        raise IdempotencyKeyInvalid
    scope = f"{api_key.id}\0POST /upload-sessions\0{idempotency_key}"
    return Idempotency(
        key=hashlib.sha256(scope.encode()).hexdigest()[:32],
        body=hashlib.sha256(_canonical(_spelled_out(wish))).hexdigest()[:32],
        keep_for=max(deadline, IDEMPOTENCY_AT_LEAST),
    )


def shard_to_be(api_key: ApiKey, idempotency_key: str | None, shards: int) -> int:
    """The shard of a new session: any, or the one where the same request would find it."""
    if idempotency_key is None:
        return randrange(shards)  # noqa: S311 - spreads load; the id's 130 bits are the secret ones
    return shard_for(api_key.id, idempotency_key, shards)


def _spelled_out(wish: CreateUploadSession) -> CreateUploadSession:
    """Who names the default destination asks for the same as who names none."""
    if wish.destination or wish.destinations:
        return wish
    return msgspec.structs.replace(wish, destination=DEFAULT)
