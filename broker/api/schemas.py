"""A session as its owner sees it. Bucket facts that are none of his business stay in the record."""

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
    JobState,
    Limits,
    ObjectRef,
    PartsStatus,
    Upload,
    UploadSession,
)
from broker.domain.sessions import Session

_NO_CHECKSUM = Checksum()


def minted(session: Session, token: str | None, upload: Upload | None) -> UploadSession:
    """What a mint answers: the declaration, and the only copy of its secrets."""
    return _declared(session, token=UNSET if token is None else token, upload=UNSET if upload is None else upload)


def status(session: Session, parts: PartsStatus | None = None) -> UploadSession:
    """All there is to know, and no secret.

    :param parts: how far a pending multipart upload is, when somebody asked the store.
    """
    facts = session.facts
    return msgspec.structs.replace(
        _declared(session, token=UNSET, upload=UNSET),
        parts=UNSET if parts is None else parts,
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
        _declared(session, token=UNSET, upload=UNSET),
        stored=facts.stored or UNSET,
        attempts=session.attempts,
        reason=facts.reason or UNSET,
        erased_at=facts.erased_at or UNSET,
    )


def job_state(session: Session) -> JobState:
    return JobState(id=session.id, state=session.state)


def _declared(session: Session, *, token: str | msgspec.UnsetType, upload: Upload | msgspec.UnsetType) -> UploadSession:
    facts = session.facts
    spec = facts.spec
    return UploadSession(
        id=session.id,
        state=session.state,
        created_at=facts.created_at,
        expires_at=facts.expires_at,
        object=ObjectRef(destination=facts.destination, bucket=facts.bucket, key=facts.key),
        guarantees=facts.guarantees,
        filename=spec.filename,
        size_bytes=spec.size_bytes,
        content_type=spec.content_type,
        token=token,
        upload=upload,
        checksum=UNSET if spec.checksum == _NO_CHECKSUM else spec.checksum,
        metadata=facts.metadata or UNSET,
        owner=UNSET if facts.owner is None else facts.owner,
        batch=UNSET if facts.batch is None else facts.batch,
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
        strategies=["put", "multipart"],
    )
