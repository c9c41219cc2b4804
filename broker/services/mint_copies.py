"""Mint copies: one upload to several destinations, as many sessions that serve one.

They are recorded together. What a store then does not give – a credential, a multipart upload that it must begin –
holds up that copy alone: its client asks for it again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from msgspec.structs import replace

from broker.contract import CreateUploadSession, Reason, State, Upload
from broker.domain.errors import BrokerError, Conflict, InvalidInput, Unavailable
from broker.domain.fan_out import Required, begin_copy, begin_fan_out, ends_at, enough
from broker.domain.keys import new_session_id, shard_of
from broker.domain.multipart import PAGE_OF_PARTS
from broker.domain.principals import ApiKey
from broker.domain.sessions import Facts, Session, begin
from broker.ports import Bucket, Buckets, NewSession, Sessions, Trace
from broker.services.admission import Choice, admitted, agree, bucket_of, idempotency_of, shard_to_be
from broker.services.at_once import at_once
from broker.services.drafts import CopyDraft, Draft, MintedCopy
from broker.services.grant import Grant
from broker.services.open_upload import OpenUpload
from broker.services.remint import Remint


@dataclass(frozen=True, slots=True, kw_only=True)
class MintCopies:
    """:param required: how many copies must be verified before there is a job."""

    buckets: Buckets
    sessions: Sessions
    remint: Remint
    grant: Grant
    open_upload: OpenUpload
    required: Required
    shards: int
    trace: Trace

    def draft(self, api_key: ApiKey, wish: CreateUploadSession, idempotency_key: str | None, now: datetime) -> Draft:
        """:raises InvalidInput: a subclass naming the field."""
        buckets = _buckets(self.buckets, api_key, wish)
        specs = [admitted(wish, bucket, api_key) for bucket in buckets]  # one spec, by the terms of each
        spec = specs[0]
        _, choices = agree(wish.strategy, spec, buckets)
        places = [bucket.destination for bucket in buckets]
        deadline = min(place.policy.deadline for place in places)
        facts = Facts(
            principal=api_key.id,
            destination=places[0].name,
            bucket=places[0].bucket,
            key="",
            spec=spec,
            guarantees=choices[0].guarantees,
            created_at=now,
            expires_at=now + deadline,
            requests_end_at=now + deadline,
            metadata=wish.metadata,
            owner=wish.owner,
            batch=wish.batch,
            traceparent=self.trace.here(),
            required=enough(self.required, len(places)),
            destinations=tuple(place.name for place in places),
        )
        idempotency = idempotency_of(api_key, wish, idempotency_key, deadline)
        empty = begin(new_session_id(shard_to_be(api_key, idempotency_key, self.shards)), facts, now)
        drafts = [draft_of(empty, bucket, choice, now) for bucket, choice in zip(buckets, choices, strict=True)]
        new = NewSession(
            session=begin_fan_out(empty, [draft.new.session for draft in drafts]),
            look_at=ends_at(empty, places),
            idempotency=idempotency,
            copies=tuple(draft.new for draft in drafts),
        )
        return Draft(api_key=api_key, new=new, bucket=buckets[0], copies=tuple(drafts))

    async def signed_all(self, draft: Draft) -> Draft:
        """With the PUT of each copy that is one; or why there is none.

        :raises Unavailable: no copy at all can be signed.
        """
        signed = await at_once(len(draft.copies), [partial(self.signed, copy) for copy in draft.copies])
        troubles = [each for each in signed if isinstance(each, Unavailable)]
        if len(troubles) == len(signed):
            raise troubles[0]
        copies = zip(draft.copies, signed, strict=True)
        return replace(
            draft,
            copies=tuple(
                replace(copy, problem=problem_of(done)) if isinstance(done, Unavailable) else done
                for copy, done in copies
            ),
        )

    async def signed(self, draft: CopyDraft) -> CopyDraft:
        """With the PUT, if it is one: parts are signed when the store has begun the upload.

        :raises Unavailable: a credential.
        """
        copy, facts = draft.new.session, draft.new.session.facts
        if facts.multipart:
            return draft
        upload = await self.grant.first(copy, draft.bucket, now=facts.created_at, ends=facts.requests_end_at)
        return replace(draft, upload=upload)

    async def granted(self, drafts: Sequence[CopyDraft], *, page: int = PAGE_OF_PARTS) -> tuple[MintedCopy, ...]:
        """What their client is given, once they are recorded."""
        page = max(1, page // len(drafts))
        return tuple(await asyncio.gather(*(self._granted(draft, page) for draft in drafts)))

    async def _granted(self, draft: CopyDraft, page: int) -> MintedCopy:
        destination = draft.bucket.destination.name
        if draft.upload or draft.problem:
            return MintedCopy(destination=destination, upload=draft.upload, problem=draft.problem)
        return await _tried(destination, partial(self.first, draft, page=page))

    async def first(self, draft: CopyDraft, *, page: int = PAGE_OF_PARTS) -> Upload:
        """:raises Unavailable: the store does not begin the upload; the copy waits for another try.
        :raises SessionSettled: it ended meanwhile.
        """
        if draft.upload:
            return draft.upload
        facts = draft.new.session.facts
        copy = await self.open_upload(draft.new.session, draft.bucket)
        return await self.grant.first(copy, draft.bucket, now=facts.created_at, ends=facts.requests_end_at, page=page)

    async def again(self, session: Session, *, page: int = PAGE_OF_PARTS) -> tuple[MintedCopy, ...]:
        """Fresh requests for each copy that is still pending."""
        waiting = [copy.id for copy in session.facts.copies if copy.state is State.PENDING]
        copies = [copy for copy in await self.sessions.get_many(waiting) if copy is not None]
        page = max(1, page // max(len(copies), 1))

        async def again(copy: Session) -> Upload:
            return (await self.remint(copy, page=page))[1]

        tries = (_tried(copy.facts.destination, partial(again, copy)) for copy in copies)
        return tuple(await asyncio.gather(*tries))


def problem_of(trouble: BrokerError) -> Reason:
    """As a client may know it: its details are for the log."""
    return Reason(code=trouble.code, message=(type(trouble).__doc__ or "").strip())


async def _tried(destination: str, act: Callable[[], Awaitable[Upload]]) -> MintedCopy:
    """One copy's trouble is not another's."""
    try:
        return MintedCopy(destination=destination, upload=await act())
    except (Unavailable, Conflict) as trouble:
        return MintedCopy(destination=destination, problem=problem_of(trouble))


def draft_of(
    session: Session, bucket: Bucket, choice: Choice, now: datetime, *, expires_at: datetime | None = None
) -> CopyDraft:
    """A copy of `session` that nobody has a request for yet.

    :param expires_at: its own deadline, if it begins later than the others.
    """
    copy = begin_copy(
        session,
        new_session_id(int(shard_of(session.id), 16)),
        bucket.destination,
        multipart=choice.multipart,
        guarantees=choice.guarantees,
        now=now,
        expires_at=expires_at or session.facts.expires_at,
    )
    return CopyDraft(new=NewSession(session=copy, look_at=now + bucket.destination.policy.first_look), bucket=bucket)


def _buckets(known: Buckets, api_key: ApiKey, wish: CreateUploadSession) -> list[Bucket]:
    names = wish.destinations or []
    if wish.destination:
        raise InvalidInput.at("/destinations", "a request names destination or destinations, not both")
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InvalidInput.at(f"/destinations/{place}", "this destination stands twice")
    buckets = [bucket_of(known, api_key, name, at=f"/destinations/{place}") for place, name in enumerate(names)]
    if len({bucket.destination.processing for bucket in buckets}) > 1:
        raise InvalidInput.at("/destinations", "these destinations do not agree on whether uploads are processed")
    return buckets
