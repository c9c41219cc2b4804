"""Grant: the signed requests of a session, whatever its strategy."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from broker.contract import MultipartUpload, PartRequest, PutUpload, ResumableUpload, SignedRequest, Upload
from broker.domain.capsule import CapsuleSealer, capsule_of
from broker.domain.errors import CompletionInProgress, NotMultipart, SessionSettled
from broker.domain.multipart import PAGE_OF_PARTS, Multipart, missing
from broker.domain.sessions import Session
from broker.domain.uris import UriSealer
from broker.ports import Bucket, MultipartRights
from broker.services.open_uri import uploads_of, uri_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Signs, and records nothing: callers record `requests_end_at` before they hand anything out."""

    sealer: CapsuleSealer
    uris: UriSealer

    async def first(
        self, session: Session, bucket: Bucket, *, now: datetime, ends: datetime, page: int = PAGE_OF_PARTS
    ) -> Upload:
        """For a session that has nothing in the store yet; of parts at most `page`."""
        multipart = session.facts.multipart
        if multipart is None:
            return await self._whole(session, bucket, now=now, ends=ends)
        return await self._page(session, bucket, range(1, multipart.part_count + 1)[:page], now=now, ends=ends)

    async def again(
        self, session: Session, bucket: Bucket, *, now: datetime, ends: datetime, page: int = PAGE_OF_PARTS
    ) -> Upload:
        """For one that may have some parts there: the first page of what is missing.

        :raises CompletionInProgress: the upload is gone. The next look finds its object, or makes way for another.
        """
        if session.facts.multipart is None:
            return await self._whole(session, bucket, now=now, ends=ends)
        multipart, rights = rights_of(session, bucket)
        stored = await rights.uploads.parts(session.facts.key, multipart.upload_id)
        if stored is None:
            raise CompletionInProgress("the parts are not where they were sent; the broker looks what became of them")
        left = missing(multipart, session.facts.spec.size_bytes, stored)
        return await self._page(session, bucket, left[:page], now=now, ends=ends)

    async def parts(
        self, session: Session, bucket: Bucket, numbers: Sequence[int], *, now: datetime, ends: datetime
    ) -> list[PartRequest]:
        """:raises NotMultipart: the session is a single PUT."""
        multipart, rights = rights_of(session, bucket)
        facts, granted = session.facts, []
        for number in numbers:
            size = multipart.size_of(number, facts.spec.size_bytes)
            request = await rights.signer.sign_part(facts.key, multipart.upload_id, number, size, now=now, ends=ends)
            offset = multipart.offset_of(number)
            granted.append(PartRequest(number=number, offset_bytes=offset, size_bytes=size, request=request))
        return granted

    async def _whole(
        self, session: Session, bucket: Bucket, *, now: datetime, ends: datetime
    ) -> PutUpload | ResumableUpload:
        if session.facts.resumable is None:
            return await self._put(session, bucket, now=now, ends=ends)
        uri, multiple = uri_of(session, self.uris), uploads_of(bucket).chunk_multiple_bytes
        request = SignedRequest(method="PUT", url=uri, headers={}, expires_at=session.facts.expires_at)
        return ResumableUpload(request=request, chunk_multiple_bytes=multiple)

    async def _put(self, session: Session, bucket: Bucket, *, now: datetime, ends: datetime) -> PutUpload:
        facts = session.facts
        capsule = self.sealer.seal(capsule_of(session.id, facts), bucket=facts.bucket, key=facts.key)
        return PutUpload(request=await bucket.put.sign_put(facts.key, facts.spec, capsule, now=now, ends=ends))

    async def _page(
        self, session: Session, bucket: Bucket, numbers: Sequence[int], *, now: datetime, ends: datetime
    ) -> MultipartUpload:
        multipart, _ = rights_of(session, bucket)
        parts = await self.parts(session, bucket, numbers, now=now, ends=ends)
        return MultipartUpload(part_size_bytes=multipart.part_size_bytes, part_count=multipart.part_count, parts=parts)


def rights_of(session: Session, bucket: Bucket) -> tuple[Multipart, MultipartRights]:
    """:raises NotMultipart: the session is a single PUT.
    :raises SessionSettled: the destination no longer takes parts.
    """
    if session.facts.multipart is None:
        raise NotMultipart
    if bucket.multipart is None:
        raise SessionSettled("the destination of this session no longer takes uploads in parts")
    return session.facts.multipart, bucket.multipart
