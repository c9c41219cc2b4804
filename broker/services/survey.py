"""Survey: how far an upload is. The store is asked, because clients send their bytes to it alone."""

import asyncio
from dataclasses import dataclass

from broker.contract import PartsStatus, State
from broker.domain.errors import Unavailable
from broker.domain.multipart import MAX_PARTS_PER_CALL, Multipart, StoredPart, missing
from broker.domain.sessions import Session
from broker.domain.uris import UriSealer
from broker.ports import Buckets, Sessions
from broker.services.open_uri import uri_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    buckets: Buckets
    sessions: Sessions
    uris: UriSealer

    async def __call__(self, session: Session) -> PartsStatus | None:
        """What the store has of a pending multipart upload, and what it lacks.

        None where nobody can say: it is another kind of session, the store is away, or the upload is gone from there –
        completed, perhaps, and not yet verified. Only an answer may tell a client to send its parts again.
        """
        plan = session.facts.multipart
        if session.state is not State.PENDING or plan is None:
            return None
        stored = await self._stored(session, plan)
        return None if stored is None else _status(plan, session.facts.spec.size_bytes, stored)

    async def offset(self, session: Session) -> int | None:
        """How many bytes the store has of a pending upload that comes by one URI. None where nobody can say."""
        resumable, bucket = session.facts.resumable, self.buckets.get(session.facts.destination)
        if session.state is not State.PENDING or resumable is None or bucket is None or bucket.resumable is None:
            return None
        if not resumable.sealed_uri:
            return 0
        try:
            return await bucket.resumable.offset(uri_of(session, self.uris), session.facts.spec.size_bytes)
        except Unavailable:
            return None

    async def copies(self, session: Session) -> dict[str, PartsStatus]:
        """The same of each copy that is uploaded in parts, by destination."""
        waiting = [copy.id for copy in session.facts.copies if copy.state is State.PENDING]
        copies = [copy for copy in await self.sessions.get_many(waiting) if copy and copy.facts.multipart]
        found = await asyncio.gather(*(self(copy) for copy in copies))
        pairs = zip(copies, found, strict=True)
        return {copy.facts.destination: parts for copy, parts in pairs if parts is not None}

    async def _stored(self, session: Session, plan: Multipart) -> list[StoredPart] | None:
        bucket = self.buckets.get(session.facts.destination)
        if bucket is None or bucket.multipart is None:
            return None
        if not plan.upload_id:
            return []
        try:
            return await bucket.multipart.uploads.parts(session.facts.key, plan.upload_id)
        except Unavailable:
            return None


def _status(plan: Multipart, size_bytes: int, stored: list[StoredPart]) -> PartsStatus:
    return PartsStatus(
        part_size_bytes=plan.part_size_bytes,
        part_count=plan.part_count,
        stored_count=len(stored),
        stored_bytes=sum(part.size_bytes for part in stored),
        missing=missing(plan, size_bytes, stored)[:MAX_PARTS_PER_CALL],
    )
