"""Mint: permission to upload exactly one object, recorded before it leaves the house."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from broker.contract import CreateUploadSession
from broker.domain.errors import SessionSettled, SigningQuotaExhausted
from broker.domain.keys import new_session_id, object_key
from broker.domain.multipart import PAGE_OF_PARTS
from broker.domain.objects import UploadSpec
from broker.domain.origins import Origins
from broker.domain.principals import ApiKey
from broker.domain.resumable import Resumable
from broker.domain.sessions import Facts, Session, begin
from broker.domain.tokens import Tokens
from broker.ports import Bucket, Buckets, Clock, Created, NewSession, Sessions, Trace
from broker.services.admission import (
    DEFAULT,
    Choice,
    admitted,
    bucket_of,
    choose,
    idempotency_of,
    instead,
    shard_to_be,
)
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
    origins: Origins

    async def __call__(
        self,
        api_key: ApiKey,
        wish: CreateUploadSession,
        idempotency_key: str | None = None,
        *,
        sent_from: str | None = None,
    ) -> Minted:
        """A PUT is signed first and then recorded: a crash in between leaves a secret that nobody holds. What the store
        must open is recorded first: a crash in between leaves nothing that its session does not find, or anybody holds.

        :param sent_from: the origin of the page that asks, if one does.
        :raises InvalidInput: a subclass naming the field.
        :raises Limited: the key mints too often, or has too much pending.
        :raises Unavailable: ledger or credential; nothing was promised.
        """
        await self.limits.admit(api_key)
        draft = await self.signed(self.draft(api_key, wish, idempotency_key, self.clock.now(), sent_from=sent_from))
        new = draft.new
        created = await self.sessions.create(
            new.session,
            look_at=new.look_at,
            idempotency=new.idempotency,
            quota=quota_of(api_key),
            copies=new.copies,
        )
        return self.ready(draft, created) or await self.granted(draft, created)

    # --- the same in steps, for those who mint many; the ledger's is before the last two

    def draft(
        self,
        api_key: ApiKey,
        wish: CreateUploadSession,
        idempotency_key: str | None,
        now: datetime,
        *,
        sent_from: str | None = None,
    ) -> Draft:
        """:raises InvalidInput: as above."""
        origin = self.origins.of(wish.origin or None, sent_from)
        if wish.destinations:
            return self.copies.draft(api_key, wish, idempotency_key, now)
        bucket = bucket_of(self.buckets, api_key, wish.destination or DEFAULT)
        spec = admitted(wish, bucket, api_key)
        idempotency = idempotency_of(api_key, wish, idempotency_key, bucket.destination.policy.deadline)
        choice = choose(wish.strategy, spec, bucket)
        session = self._begin(api_key, wish, spec, choice, bucket, idempotency_key, now, origin)
        look_at = now + bucket.destination.policy.first_look
        new = NewSession(session=session, look_at=look_at, idempotency=idempotency)
        return Draft(api_key=api_key, new=new, bucket=bucket, strategy=wish.strategy, origin=origin)

    async def signed(self, draft: Draft) -> Draft:
        """With its PUT, if it is one; with those of its copies.

        :raises CredentialsUnavailable, SigningQuotaExhausted: as above, where no other way is as strong as required.
        """
        if draft.copies:
            return await self.copies.signed_all(draft)
        session, facts = draft.new.session, draft.new.session.facts
        if facts.multipart or facts.resumable:
            return draft
        try:
            upload = await self.grant.first(session, draft.bucket, now=facts.created_at, ends=facts.requests_end_at)
        except SigningQuotaExhausted:
            choice = instead(draft.strategy, facts.spec, draft.bucket)
            if choice is None:
                raise
            return _lent(draft, choice)
        return msgspec.structs.replace(draft, upload=upload)

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
        choice: Choice,
        bucket: Bucket,
        idempotency_key: str | None,
        now: datetime,
        origin: str | None,
    ) -> Session:
        place, is_lent = bucket.destination, choice.strategy == "resumable"
        deadline, ttl = place.policy.deadline, place.policy.url_ttl
        session_id = new_session_id(shard_to_be(api_key, idempotency_key, self.shards))
        facts = Facts(
            principal=api_key.id,
            destination=place.name,
            bucket=place.bucket,
            key=object_key(place.prefix, session_id, wish.filename),
            spec=spec,
            guarantees=choice.guarantees,
            created_at=now,
            expires_at=now + deadline,
            # An upper bound, known before signing: the request itself may end earlier with its credential.
            requests_end_at=now + (deadline if is_lent else min(ttl, deadline)),
            metadata=wish.metadata,
            owner=wish.owner,
            batch=wish.batch,
            multipart=choice.multipart,
            resumable=Resumable(origin=origin) if is_lent else None,
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


def _lent(draft: Draft, choice: Choice) -> Draft:
    """The same by what the store opens: nobody has been promised anything yet."""
    session = draft.new.session
    facts = msgspec.structs.replace(
        session.facts,
        guarantees=choice.guarantees,
        requests_end_at=session.facts.expires_at,
        resumable=Resumable(origin=draft.origin),
    )
    new = msgspec.structs.replace(draft.new, session=msgspec.structs.replace(session, facts=facts))
    return msgspec.structs.replace(draft, new=new)
