"""Mint: permission to upload exactly one object, recorded before it leaves the house."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import randrange
from typing import Literal

import msgspec
from msgspec import Struct

from broker.contract import MAX_METADATA_BYTES, MAX_OBJECT_METADATA_BYTES, CreateUploadSession, Guarantees, Upload
from broker.domain.errors import (
    BrokerError,
    IdempotencyKeyInvalid,
    InvalidInput,
    MetadataTooLarge,
    SessionSettled,
    SizeTooLarge,
    StrategyTooWeak,
    UnknownDestination,
)
from broker.domain.keys import new_session_id, object_key, shard_for
from broker.domain.multipart import PAGE_OF_PARTS, Multipart, cut
from broker.domain.objects import UploadSpec, check_checksum, check_object_metadata
from broker.domain.policy import admit, demand
from broker.domain.principals import ApiKey
from broker.domain.sessions import Facts, Session, begin
from broker.domain.tokens import Tokens
from broker.ports import Bucket, Buckets, Clock, Created, Idempotency, NewSession, Sessions, Trace
from broker.services.grant import Grant
from broker.services.limits import Limits, quota_of
from broker.services.open_upload import OpenUpload
from broker.services.remint import Remint

MAX_PUT_BYTES = 5 * 2**30  # S3 PutObject: "up to 5 GB" in a single operation, and so with GCS and R2
DEFAULT = "default"  # the destination of those who name none
IDEMPOTENCY_AT_LEAST = timedelta(hours=24)
Strategy = Literal["auto", "put", "multipart"]
_canonical = msgspec.json.Encoder(order="deterministic").encode


class Minted(Struct, frozen=True, kw_only=True):
    """`upload` is None when a replayed session has settled since: there is nothing left to send."""

    session: Session
    upload: Upload | None
    token: str
    is_replay: bool


class Draft(Struct, frozen=True, kw_only=True):
    """A session that is about to be recorded. `upload` is None where the store must begin it first."""

    api_key: ApiKey
    new: NewSession
    bucket: Bucket
    upload: Upload | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mint:
    buckets: Buckets
    sessions: Sessions
    remint: Remint
    grant: Grant
    open_upload: OpenUpload
    tokens: Tokens
    clock: Clock
    shards: int
    limits: Limits
    trace: Trace

    async def __call__(self, api_key: ApiKey, wish: CreateUploadSession, idempotency_key: str | None = None) -> Minted:
        """A PUT is signed first and then recorded: a crash in between leaves a secret that nobody holds. A multipart
        is recorded first and then begun in the store: a crash in between leaves nothing that its session does not find.

        :raises InvalidInput: a subclass naming the field.
        :raises Limited: the key mints too often, or has too much pending.
        :raises Unavailable: ledger or credential; nothing was promised.
        """
        await self.limits.admit(api_key)
        draft = await self.draft(api_key, wish, idempotency_key, self.clock.now())
        new = draft.new
        created = await self.sessions.create(
            new.session, look_at=new.look_at, idempotency=new.idempotency, quota=quota_of(api_key)
        )
        return self.ready(draft, created) or await self.granted(draft, created)

    # --- the same in three steps, for those who mint many; the ledger's is between the first and the second

    async def draft(
        self, api_key: ApiKey, wish: CreateUploadSession, idempotency_key: str | None, now: datetime
    ) -> Draft:
        """:raises InvalidInput, CredentialsUnavailable: as above."""
        if wish.destinations:
            raise InvalidInput.at("/destinations", "fan-out is not available yet")
        bucket = _destination(self.buckets, api_key, wish.destination or DEFAULT)
        spec = _admitted(wish, bucket, api_key)
        idempotency = _idempotency(api_key, wish, idempotency_key, bucket)
        session = self._begin(api_key, wish, spec, bucket, idempotency_key, now)
        look_at = now + bucket.destination.policy.first_look
        ends = session.facts.requests_end_at
        upload = None if session.facts.multipart else await self.grant.first(session, bucket, now=now, ends=ends)
        new = NewSession(session=session, look_at=look_at, idempotency=idempotency)
        return Draft(api_key=api_key, new=new, bucket=bucket, upload=upload)

    def ready(self, draft: Draft, created: Created) -> Minted | None:
        """What is complete once it is recorded: a PUT that no earlier request had made."""
        if created.is_replay or draft.upload is None:
            return None
        session = draft.new.session
        token = self.tokens.for_session(session.id, session.facts.expires_at, draft.api_key.generation)
        return Minted(session=session, upload=draft.upload, token=token, is_replay=False)

    async def granted(self, draft: Draft, created: Created, *, page: int = PAGE_OF_PARTS) -> Minted:
        """What takes more: a session that an earlier request had made, or one whose upload the store must begin.

        :param page: how many signed parts to hand out at once.
        :raises Unavailable: the store; the session waits for another try.
        """
        if created.is_replay:
            return await self._replayed(created.session, draft.api_key, page)
        facts = draft.new.session.facts
        session = await self.open_upload(draft.new.session, draft.bucket)
        upload = await self.grant.first(
            session, draft.bucket, now=facts.created_at, ends=facts.requests_end_at, page=page
        )
        token = self.tokens.for_session(session.id, facts.expires_at, draft.api_key.generation)
        return Minted(session=session, upload=upload, token=token, is_replay=False)

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
        multipart, guarantees = choose(wish.strategy, spec, bucket)
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
            multipart=multipart,
            traceparent=self.trace.here(),
        )
        return begin(session_id, facts, now)

    def _shard(self, api_key: ApiKey, idempotency_key: str | None) -> int:
        if idempotency_key is None:
            return randrange(self.shards)  # noqa: S311 - spreads load; the id's 130 bits are the secret ones
        return shard_for(api_key.id, idempotency_key, self.shards)

    async def _replayed(self, session: Session, api_key: ApiKey, page: int) -> Minted:
        """The session that stands, with *fresh* requests: secrets are never stored."""
        upload = None
        try:
            session, upload = await self.remint(session, page=page)
        except SessionSettled:
            session = await self.sessions.get(session.id) or session
        token = self.tokens.for_session(session.id, session.facts.expires_at, api_key.generation)
        return Minted(session=session, upload=upload, token=token, is_replay=True)


def choose(strategy: Strategy, spec: UploadSpec, bucket: Bucket) -> tuple[Multipart | None, Guarantees]:
    """The cut, or None for a single PUT, and who keeps which promise. `auto` never picks what is too weak.

    :raises StrategyTooWeak, ChecksumNotProvable, SizeTooLarge: nothing that is permitted will do.
    """
    place, refusal = bucket.destination, None
    names = _CANDIDATES[strategy]
    if strategy == "auto" and spec.size_bytes > place.multipart.threshold_bytes:
        names = names[::-1]
    for name in names:
        try:
            return _put(spec, bucket) if name == "put" else _multipart(spec, bucket)
        except InvalidInput as exc:
            refusal = refusal or exc
    raise refusal or StrategyTooWeak


_CANDIDATES: dict[Strategy, tuple[Strategy, ...]] = {
    "auto": ("put", "multipart"),
    "put": ("put",),
    "multipart": ("multipart",),
}


def _put(spec: UploadSpec, bucket: Bucket) -> tuple[None, Guarantees]:
    if spec.size_bytes > MAX_PUT_BYTES:
        raise SizeTooLarge.at("/size_bytes", f"a single PUT takes at most {MAX_PUT_BYTES} bytes")
    guarantees = bucket.put.binds(spec)
    demand(spec, bucket.destination, guarantees)
    return None, guarantees


def _multipart(spec: UploadSpec, bucket: Bucket) -> tuple[Multipart, Guarantees]:
    if bucket.multipart is None or spec.size_bytes == 0:
        raise StrategyTooWeak.at("/strategy", "this object cannot be uploaded in parts here")
    guarantees = bucket.multipart.signer.binds(spec)
    demand(spec, bucket.destination, guarantees)
    return cut(spec.size_bytes, bucket.destination.multipart.part_size_bytes), guarantees


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
    if metadata and len("".join([*metadata, *metadata.values()]).encode()) > limit_bytes:
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
        body=hashlib.sha256(_canonical(_spelled_out(wish))).hexdigest()[:32],
        keep_for=max(bucket.destination.policy.deadline, IDEMPOTENCY_AT_LEAST),
    )


def _spelled_out(wish: CreateUploadSession) -> CreateUploadSession:
    """Who names the default destination asks for the same as who names none."""
    if wish.destination or wish.destinations:
        return wish
    return msgspec.structs.replace(wish, destination=DEFAULT)
