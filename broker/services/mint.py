"""Mint: permission to upload exactly one object, recorded before it leaves the house."""

from dataclasses import dataclass
from datetime import datetime

from broker.contract import CreateUploadSession
from broker.domain.errors import SessionSettled
from broker.domain.keys import new_session_id, object_key
from broker.domain.multipart import PAGE_OF_PARTS
from broker.domain.objects import UploadSpec
from broker.domain.principals import ApiKey
from broker.domain.sessions import Facts, Session, begin
from broker.domain.tokens import Tokens
from broker.ports import Bucket, Buckets, Clock, Created, NewSession, Sessions, Trace
from broker.services.admission import DEFAULT, admitted, bucket_of, choose, idempotency_of, shard_to_be
from broker.services.drafts import Draft, Minted
from broker.services.grant import Grant
from broker.services.limits import Limits, quota_of
from broker.services.mint_copies import MintCopies
from broker.services.open_upload import OpenUpload
from broker.services.remint import Remint


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
    copies: MintCopies

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
            new.session,
            look_at=new.look_at,
            idempotency=new.idempotency,
            quota=quota_of(api_key),
            copies=new.copies,
        )
        return self.ready(draft, created) or await self.granted(draft, created)

    # --- the same in three steps, for those who mint many; the ledger's is between the first and the second

    async def draft(
        self, api_key: ApiKey, wish: CreateUploadSession, idempotency_key: str | None, now: datetime
    ) -> Draft:
        """:raises InvalidInput, CredentialsUnavailable: as above."""
        if wish.destinations:
            return await self.copies.draft(api_key, wish, idempotency_key, now)
        bucket = bucket_of(self.buckets, api_key, wish.destination or DEFAULT)
        spec = admitted(wish, bucket, api_key)
        idempotency = idempotency_of(api_key, wish, idempotency_key, bucket.destination.policy.deadline)
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
        token = self.tokens.for_session(draft.new.session.id, facts.expires_at, draft.api_key.generation)
        if draft.copies:
            copies = await self.copies.granted(draft.copies, page=page)
            return Minted(session=draft.new.session, upload=None, token=token, is_replay=False, copies=copies)
        session = await self.open_upload(draft.new.session, draft.bucket)
        upload = await self.grant.first(
            session, draft.bucket, now=facts.created_at, ends=facts.requests_end_at, page=page
        )
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
        session_id = new_session_id(shard_to_be(api_key, idempotency_key, self.shards))
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

    async def _replayed(self, session: Session, api_key: ApiKey, page: int) -> Minted:
        """The session that stands, with *fresh* requests: secrets are never stored."""
        token = self.tokens.for_session(session.id, session.facts.expires_at, api_key.generation)
        if session.facts.copies:
            copies = await self.copies.again(session, page=page)
            return Minted(session=session, upload=None, token=token, is_replay=True, copies=copies)
        upload = None
        try:
            session, upload = await self.remint(session, page=page)
        except SessionSettled:
            session = await self.sessions.get(session.id) or session
        return Minted(session=session, upload=upload, token=token, is_replay=True)
