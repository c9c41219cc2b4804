"""Mint: permission to upload exactly one object, recorded before it leaves the house."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import randrange

import msgspec

from broker.contract import MAX_METADATA_BYTES, MAX_OBJECT_METADATA_BYTES, CreateUploadSession, SignedRequest
from broker.domain.capsule import CapsuleSealer, capsule_of
from broker.domain.errors import (
    BrokerError,
    IdempotencyKeyInvalid,
    MetadataTooLarge,
    SessionSettled,
    UnknownDestination,
)
from broker.domain.keys import new_session_id, object_key, shard_for
from broker.domain.objects import UploadSpec, check_checksum, check_object_metadata
from broker.domain.policy import admit, demand
from broker.domain.principals import ApiKey
from broker.domain.sessions import Facts, Session, begin
from broker.domain.tokens import Tokens
from broker.ports import Bucket, Buckets, Clock, Idempotency, Sessions
from broker.services.remint import Remint

IDEMPOTENCY_AT_LEAST = timedelta(hours=24)
_canonical = msgspec.json.Encoder(order="deterministic").encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Minted:
    """`request` is None when a replayed session has settled since: there is nothing left to send."""

    session: Session
    request: SignedRequest | None
    token: str
    is_replay: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Mint:
    buckets: Buckets
    sessions: Sessions
    remint: Remint
    sealer: CapsuleSealer
    tokens: Tokens
    clock: Clock
    shards: int

    async def __call__(self, api_key: ApiKey, wish: CreateUploadSession, idempotency_key: str | None = None) -> Minted:
        """Signs first and records in one step: a crash in between leaves a secret that nobody holds.

        :raises InvalidInput: a subclass naming the field.
        :raises Unavailable: ledger or credential; nothing was promised.
        """
        now = self.clock.now()
        bucket = _destination(self.buckets, api_key, wish.destination)
        spec = _admitted(wish, bucket, api_key)
        idempotency = _idempotency(api_key, wish, idempotency_key, bucket)
        session = self._begin(api_key, wish, spec, bucket, idempotency_key, now)
        request = await self._sign(session, bucket, now)
        look_at = now + bucket.destination.policy.first_look
        created = await self.sessions.create(session, look_at=look_at, idempotency=idempotency)
        if created.is_replay:
            return await self._replayed(created.session)
        token = self.tokens.for_session(session.id, session.facts.expires_at)
        return Minted(session=session, request=request, token=token, is_replay=False)

    def _begin(
        self,
        api_key: ApiKey,
        wish: CreateUploadSession,
        spec: UploadSpec,
        bucket: Bucket,
        idempotency_key: str | None,
        now: datetime,
    ) -> Session:
        place = bucket.destination
        guarantees = bucket.put.binds(spec)
        demand(spec, place.policy, guarantees)
        session_id = new_session_id(self._shard(api_key, idempotency_key))
        facts = Facts(
            principal=api_key.id,
            destination=place.name,
            bucket=place.bucket,
            key=object_key(place.prefix, session_id, wish.filename),
            spec=spec,
            guarantees=guarantees,
            created_at=now,
            expires_at=now + place.policy.deadline,
            # An upper bound, known before signing: the request itself may end earlier with its credential.
            requests_end_at=now + min(place.policy.url_ttl, place.policy.deadline),
            metadata=wish.metadata,
            owner=wish.owner,
            batch=wish.batch,
        )
        return begin(session_id, facts, now)

    def _shard(self, api_key: ApiKey, idempotency_key: str | None) -> int:
        if idempotency_key is None:
            return randrange(self.shards)  # noqa: S311 - spreads load; the id's 128 bits are the secret ones
        return shard_for(api_key.id, idempotency_key, self.shards)

    async def _sign(self, session: Session, bucket: Bucket, now: datetime) -> SignedRequest:
        facts = session.facts
        capsule = self.sealer.seal(capsule_of(session.id, facts), bucket=facts.bucket, key=facts.key)
        return await bucket.put.sign_put(facts.key, facts.spec, capsule, now=now, ends=facts.requests_end_at)

    async def _replayed(self, session: Session) -> Minted:
        """The session that stands, with *fresh* requests: secrets are never stored."""
        request = None
        try:
            session, request = await self.remint(session)
        except SessionSettled:
            session = await self.sessions.get(session.id) or session
        token = self.tokens.for_session(session.id, session.facts.expires_at)
        return Minted(session=session, request=request, token=token, is_replay=True)


def _destination(buckets: Buckets, api_key: ApiKey, name: str) -> Bucket:
    bucket = buckets.get(name)
    if bucket is None or not api_key.may_use(name):
        raise UnknownDestination.at("/destination")
    return bucket


def _admitted(wish: CreateUploadSession, bucket: Bucket, api_key: ApiKey) -> UploadSpec:
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
    if sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items()) > limit_bytes:
        raise _too_large(pointer, limit_bytes)


def _too_large(pointer: str, limit_bytes: int) -> BrokerError:
    return MetadataTooLarge.at(pointer, f"names and values together take at most {limit_bytes} bytes")


def _idempotency(
    api_key: ApiKey, wish: CreateUploadSession, idempotency_key: str | None, bucket: Bucket
) -> Idempotency | None:
    if idempotency_key is None:
        return None
    if not (1 <= len(idempotency_key) <= 255 and idempotency_key.isascii() and idempotency_key.isprintable()):
        raise IdempotencyKeyInvalid
    scope = f"{api_key.id}\0POST /upload-sessions\0{idempotency_key}"
    return Idempotency(
        key=hashlib.sha256(scope.encode()).hexdigest()[:32],
        body=hashlib.sha256(_canonical(wish)).hexdigest()[:32],
        keep_for=max(bucket.destination.policy.deadline, IDEMPOTENCY_AT_LEAST),
    )
