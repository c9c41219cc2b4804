"""A session as its owner sees it. Bucket facts that are none of his business stay in the record."""

from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import UNSET

from broker.contract import (
    MAX_BATCH,
    MAX_BODY_BYTES,
    MAX_LEASE_BATCH,
    MAX_METADATA_BYTES,
    MAX_OBJECT_METADATA_BYTES,
    MAX_RESULT_BYTES,
    MAX_WAIT_SECONDS,
    About,
    Checksum,
    Copy,
    JobState,
    Limits,
    ObjectRef,
    PartsStatus,
    Upload,
    UploadSession,
)
from broker.domain.copies import Copy as RecordedCopy
from broker.domain.sessions import Session
from broker.services.drafts import MintedCopy

_NO_CHECKSUM = Checksum()
NO_PARTS: Mapping[str, PartsStatus] = {}


def minted(
    session: Session, token: str | None, upload: Upload | None, copies: Sequence[MintedCopy] = ()
) -> UploadSession:
    """What a mint answers: the declaration, and the only copy of its secrets.

    :param copies: of a fan-out those that were minted.
    """
    minted = {copy.destination: copy for copy in copies}
    return msgspec.structs.replace(
        _declared(session, _minted_copy(minted)),
        token=UNSET if token is None else token,
        upload=UNSET if upload is None else upload,
    )


def status(
    session: Session,
    parts: PartsStatus | None = None,
    copies: Mapping[str, PartsStatus] = NO_PARTS,
    *,
    offset_bytes: int | None = None,
) -> UploadSession:
    """All there is to know, and no secret.

    :param parts: how far a pending multipart upload is, when somebody asked the store; `copies`: the same of copies,
        by destination; `offset_bytes`: of one that comes by a URI.
    """
    facts = session.facts
    return msgspec.structs.replace(
        _declared(session, _copy_in_parts(copies)),
        parts=UNSET if parts is None else parts,
        offset_bytes=UNSET if offset_bytes is None else offset_bytes,
        stored=facts.stored or UNSET,
        timeline=session.history,
        attempts=session.attempts,
        result=msgspec.Raw(facts.result) if facts.result else UNSET,
        reason=facts.reason or UNSET,
        erased_at=facts.erased_at or UNSET,
    )


def summary(session: Session) -> UploadSession:
    """What fits into an answer about a thousand of them: no timeline and no result, which may be 64 KiB."""
    facts = session.facts
    return msgspec.structs.replace(
        _declared(session, _copy),
        stored=facts.stored or UNSET,
        attempts=session.attempts,
        reason=facts.reason or UNSET,
        erased_at=facts.erased_at or UNSET,
    )


def _copy(copy: RecordedCopy) -> Copy:
    return Copy(
        destination=copy.destination,
        state=copy.state,
        object=ObjectRef(destination=copy.destination, bucket=copy.bucket, key=copy.key),
        guarantees=copy.guarantees,
        stored=copy.stored or UNSET,
        problem=copy.reason or UNSET,
    )


def _minted_copy(minted: Mapping[str, MintedCopy]) -> Callable[[RecordedCopy], Copy]:
    def view(copy: RecordedCopy) -> Copy:
        plain, found = _copy(copy), minted.get(copy.destination)
        if found is None:
            return plain
        return msgspec.structs.replace(plain, upload=found.upload or UNSET, problem=found.problem or plain.problem)

    return view


def _copy_in_parts(parts: Mapping[str, PartsStatus]) -> Callable[[RecordedCopy], Copy]:
    def view(copy: RecordedCopy) -> Copy:
        return msgspec.structs.replace(_copy(copy), parts=parts.get(copy.destination, UNSET))

    return view


def job_state(session: Session) -> JobState:
    return JobState(id=session.id, state=session.state)


def _declared(session: Session, copy_of: Callable[[RecordedCopy], Copy]) -> UploadSession:
    facts = session.facts
    spec = facts.spec
    ref = ObjectRef(destination=facts.destination, bucket=facts.bucket, key=facts.key)
    return UploadSession(
        id=session.id,
        state=session.state,
        created_at=facts.created_at,
        expires_at=facts.expires_at,
        object=UNSET if facts.copies else ref,
        guarantees=UNSET if facts.copies else facts.guarantees,
        filename=spec.filename,
        size_bytes=spec.size_bytes,
        content_type=spec.content_type,
        checksum=UNSET if spec.checksum == _NO_CHECKSUM else spec.checksum,
        metadata=facts.metadata or UNSET,
        owner=UNSET if facts.owner is None else facts.owner,
        batch=UNSET if facts.batch is None else facts.batch,
        copies=[copy_of(copy) for copy in facts.copies] if facts.copies else UNSET,
    )


def about(version: str) -> About:
    """Who answers, and how much it takes."""
    return About(
        name="upload-broker",
        version=version,
        limits=Limits(
            max_body_bytes=MAX_BODY_BYTES,
            max_metadata_bytes=MAX_METADATA_BYTES,
            max_object_metadata_bytes=MAX_OBJECT_METADATA_BYTES,
            max_result_bytes=MAX_RESULT_BYTES,
            max_lease_batch=MAX_LEASE_BATCH,
            max_batch=MAX_BATCH,
            max_wait_seconds=MAX_WAIT_SECONDS,
        ),
        strategies=["put", "multipart", "resumable"],
    )
