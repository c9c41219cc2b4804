"""Remint: fresh signed requests for a pending session, until its deadline."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from broker.contract import PartRequest, Upload
from broker.domain.errors import (
    CompletionInProgress,
    InvalidInput,
    NotMultipart,
    Overloaded,
    SessionSettled,
)
from broker.domain.multipart import PAGE_OF_PARTS
from broker.domain.sessions import Session, is_completing, remint
from broker.ports import Bucket, Buckets, Clock, Sessions
from broker.services.again import read_again
from broker.services.grant import Grant
from broker.services.open_upload import OpenUpload

_TRIES = 20  # a lost race means that somebody else moved the session on: a client may ask for many pages at once

T = TypeVar("T")
Sign = Callable[[Session, Bucket, datetime, datetime], Awaitable[T]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remint:
    """Recorded before it is handed out, so that the session outlives every request that is alive."""

    buckets: Buckets
    sessions: Sessions
    grant: Grant
    open_upload: OpenUpload
    clock: Clock

    async def __call__(self, session: Session, *, page: int = PAGE_OF_PARTS) -> tuple[Session, Upload]:
        """For every strategy; of a multipart the first `page` of what is missing.

        :raises SessionSettled: it is not pending, or its deadline is over.
        :raises CompletionInProgress: its parts are being put together, or are gone from where they were; or the store
            has all that was to come by its URI, which otherwise stays.
        :raises IdempotencyInFlight: the request that reserved it may still be opening it.
        """

        async def sign(session: Session, bucket: Bucket, now: datetime, ends: datetime) -> Upload:
            return await self.grant.again(session, bucket, now=now, ends=ends, page=page)

        return await self._granted(session, sign)

    async def parts(self, session: Session, numbers: Sequence[int]) -> list[PartRequest]:
        """Fresh requests for these parts, in the order asked for.

        :raises NotMultipart: the session is a single PUT.
        :raises InvalidInput: naming a number that the session does not have.
        """
        if session.facts.multipart is None:
            raise NotMultipart
        for position, number in enumerate(numbers):
            if number > session.facts.multipart.part_count:
                raise InvalidInput.at(
                    f"/numbers/{position}", f"this session has {session.facts.multipart.part_count} parts"
                )

        async def sign(session: Session, bucket: Bucket, now: datetime, ends: datetime) -> list[PartRequest]:
            return await self.grant.parts(session, bucket, numbers, now=now, ends=ends)

        return (await self._granted(session, sign))[1]

    async def _granted(self, session: Session, sign: Sign[T]) -> tuple[Session, T]:
        self.open_upload.need_quiet(session)
        for _ in range(_TRIES):
            bucket = self._open_bucket(session)
            session = await self.open_upload.again(session, bucket)
            now, policy = self.clock.now(), bucket.destination.policy
            ends = min(now + policy.url_ttl, session.facts.expires_at)
            change = remint(session, requests_end_at=ends, look_at=now + policy.first_look)
            if await self.sessions.apply(change):
                return change.after, await sign(change.after, bucket, now, ends)
            session = await read_again(self.sessions, session.id)
        raise Overloaded("many ask for requests of this session at once; try again")

    def _open_bucket(self, session: Session) -> Bucket:
        now = self.clock.now()
        bucket = self.buckets.get(session.facts.destination)
        if bucket is None or now >= session.facts.expires_at:
            raise SessionSettled
        if is_completing(session, now):
            raise CompletionInProgress
        return bucket
