"""The examples of the OpenAPI: one upload, followed from its mint to its result.

They are values of the contract, so they cannot show what the contract does not know.
"""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import msgspec

from broker.api.schemas import about
from broker.contract import (
    Attempts,
    BatchItem,
    Checksum,
    CompleteUploads,
    CompletionOrProblem,
    CompletionsOrProblems,
    Copy,
    CreateUploadSession,
    CreateUploadSessions,
    FieldProblem,
    Guarantees,
    Job,
    JobState,
    Lease,
    LeasedJobs,
    LeaseRequest,
    Level,
    MultipartUpload,
    NotificationReceipt,
    ObjectRef,
    PartRequest,
    PartsGrant,
    PartsRequest,
    Problem,
    PutUpload,
    Readiness,
    Reason,
    ReleaseRequest,
    RenewedLease,
    RenewRequest,
    ResultRequest,
    ResumableUpload,
    SessionEvent,
    SessionOrProblem,
    SessionPage,
    SessionsOrProblems,
    SignedRequest,
    State,
    StatusRequest,
    Step,
    StoredObject,
    UploadSession,
)

_ID = "00mfrggzdfmztwq2lknnwg23tpoa"
_KEY = f"uploads/{_ID}/report.csv"
_URL = f"https://acme-uploads.s3.eu-central-1.amazonaws.com/{_KEY}"
_START = datetime(2026, 11, 20, 12, tzinfo=UTC)
_SHA256 = Checksum(sha256="n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=")
_ETAG = "098f6bcd4621d373cade4e832627b4f6"
_TOKEN = "us_691eed40.0_MDEyMzQ1Njc4OWFiY2RlZmdo"  # noqa: S105 - opens nothing
_LEASE_TOKEN = "ul_MDEyMzQ1Njc4OWFiY2RlZmdo"  # noqa: S105 - opens nothing


def _at(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)


_ENFORCED = Guarantees(
    size=Level.ENFORCED, content_type=Level.ENFORCED, create_only=Level.ENFORCED, checksum=Level.ENFORCED
)

CREATE = CreateUploadSession(
    filename="report.csv",
    size_bytes=10_485_760,
    content_type="text/csv",
    checksum=_SHA256,
    metadata={"case": "17"},
    object_metadata={"mtime": "1732100000"},
    owner="user-17",
    batch="2026-11-20",
)

PENDING_SESSION = UploadSession(
    id=_ID,
    state=State.PENDING,
    created_at=_START,
    expires_at=_at(86_400),
    object=ObjectRef(destination="default", bucket="acme-uploads", key=_KEY),
    guarantees=_ENFORCED,
    filename=CREATE.filename,
    size_bytes=CREATE.size_bytes,
    content_type=CREATE.content_type,
    checksum=CREATE.checksum,
    metadata=CREATE.metadata,
    owner="user-17",
    batch="2026-11-20",
)

MINTED_SESSION = msgspec.structs.replace(
    PENDING_SESSION,
    token=_TOKEN,
    upload=PutUpload(
        request=SignedRequest(
            method="PUT",
            url=f"{_URL}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=900&X-Amz-Signature=...",
            headers={"content-type": "text/csv", "if-none-match": "*", "x-amz-meta-upload-session": "..."},
            expires_at=_at(900),
        )
    ),
)

_PART_BYTES = 5_242_880


def _part(number: int) -> PartRequest:
    return PartRequest(
        number=number,
        offset_bytes=(number - 1) * _PART_BYTES,
        size_bytes=_PART_BYTES,
        request=SignedRequest(
            method="PUT",
            url=f"{_URL}?partNumber={number}&uploadId=VXBsb2Fk&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=...",
            headers={},
            expires_at=_at(900),
        ),
    )


MINTED_IN_PARTS = msgspec.structs.replace(
    MINTED_SESSION,
    upload=MultipartUpload(part_size_bytes=_PART_BYTES, part_count=2, parts=[_part(1), _part(2)]),
)
MINTED_RESUMABLE = msgspec.structs.replace(
    MINTED_SESSION,
    upload=ResumableUpload(
        request=SignedRequest(
            method="PUT",
            url=f"https://storage.googleapis.com/upload/storage/v1/b/acme-uploads/o?name={quote(_KEY, safe='')}"
            "&uploadType=resumable&upload_id=...",
            headers={},
            expires_at=_at(86_400),
        ),
        chunk_multiple_bytes=262_144,
    ),
)
PARTS = PartsRequest(numbers=[2])
GRANTED_PARTS = PartsGrant(parts=[_part(2)])

VERIFIED_SESSION = msgspec.structs.replace(
    PENDING_SESSION,
    state=State.VERIFIED,
    stored=StoredObject(
        size_bytes=CREATE.size_bytes, content_type=CREATE.content_type, etag=_ETAG, version="3HL4kqtJ", checksum=_SHA256
    ),
    timeline=[Step(state=State.PENDING, at=_START), Step(state=State.VERIFIED, at=_at(4))],
    attempts=Attempts(leases=0, failures=0, lost_leases=0, infrastructure=0),
)

_ATTEMPTS = Attempts(leases=1, failures=0, lost_leases=0, infrastructure=0)

PROCESSED_SESSION = msgspec.structs.replace(
    VERIFIED_SESSION,
    state=State.PROCESSED,
    timeline=[
        Step(state=State.PENDING, at=_START),
        Step(state=State.VERIFIED, at=_at(4)),
        Step(state=State.PROCESSING, at=_at(4.2), epoch=1),
        Step(state=State.PROCESSED, at=_at(5), epoch=1),
    ],
    attempts=_ATTEMPTS,
    result={"lines": 40_960},
)

ABORTED_SESSION = msgspec.structs.replace(
    PENDING_SESSION,
    state=State.ABORTED,
    timeline=[Step(state=State.PENDING, at=_START), Step(state=State.ABORTED, at=_at(4))],
    attempts=Attempts(leases=0, failures=0, lost_leases=0, infrastructure=0),
)

SESSION_EVENT = SessionEvent(id=_ID, state=State.VERIFIED, at=_at(4), epoch=0, is_final=False)

ERASED_SESSION = msgspec.structs.replace(PROCESSED_SESSION, erased_at=_at(60))

BATCH = CreateUploadSessions(
    sessions=[
        BatchItem(filename="one.csv", size_bytes=10_485_760, batch="2026-11-20", idempotency_key="2026-11-20/one.csv"),
        BatchItem(filename="two.csv", size_bytes=10_485_760, destination="elsewhere"),
    ]
)
_MISSING = Problem(
    type="/problems/session-not-found",
    title="No such upload session",
    status=404,
    code="session-not-found",
    detail="There is no such upload session, or it belongs to another principal.",
    request_id="5b3f0c9d2a7e4186",
    is_retryable=False,
)
_ELSEWHERE = "There is no such destination, or this key may not use it."
BATCH_ANSWERS = SessionsOrProblems(
    sessions=[
        SessionOrProblem(session=MINTED_SESSION),
        SessionOrProblem(
            problem=Problem(
                type="/problems/unknown-destination",
                title="The destination is unknown",
                status=422,
                code="unknown-destination",
                detail=_ELSEWHERE,
                request_id="5b3f0c9d2a7e4186",
                is_retryable=False,
                errors=[
                    FieldProblem(pointer="/sessions/1/destination", code="unknown-destination", message=_ELSEWHERE)
                ],
            )
        ),
    ]
)
IDS = StatusRequest(ids=[_ID, "00aaaaaaaaaaaaaaaaaaaaaaaaaa"])
_SUMMARY = msgspec.structs.replace(VERIFIED_SESSION, timeline=msgspec.UNSET)
STATUSES = SessionsOrProblems(sessions=[SessionOrProblem(session=_SUMMARY), SessionOrProblem(problem=_MISSING)])
COMPLETED_IDS = CompleteUploads(ids=IDS.ids)
COMPLETIONS = CompletionsOrProblems(
    sessions=[
        CompletionOrProblem(session=_SUMMARY, is_looked_at=True),
        CompletionOrProblem(problem=_MISSING, is_looked_at=False),
    ]
)
_REJECTED = Reason(code="size-mismatch", message="declared 10485760 bytes, stored 1048576")


def _copy(destination: str, copy_id: str, state: State, problem: Reason | msgspec.UnsetType = msgspec.UNSET) -> Copy:
    return Copy(
        destination=destination,
        state=state,
        object=ObjectRef(
            destination=destination, bucket=f"acme-uploads-{destination}", key=f"uploads/{copy_id}/report.csv"
        ),
        guarantees=_ENFORCED,
        problem=problem,
    )


FAN_OUT_SESSION = msgspec.structs.replace(
    PENDING_SESSION,
    id="00nbswy3dpeb3w64tmmqqho33sna",
    object=msgspec.UNSET,
    guarantees=msgspec.UNSET,
    copies=[
        _copy("eu", "00orugs4zanfzsayjaorsxg5abcd", State.VERIFIED),
        _copy("us", "00ovzwk43pnvsxi2lomzzgk2ijkl", State.REJECTED, _REJECTED),
    ],
)
PAGE = SessionPage(sessions=[_SUMMARY, FAN_OUT_SESSION], cursor="MTk5YTU3ZGYwMDAuMDA")

READ = SignedRequest(
    method="GET",
    url=f"{_URL}?versionId=3HL4kqtJ&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=300&X-Amz-Signature=...",
    headers={},
    expires_at=_at(304),
)

LEASE = LeaseRequest(max=10, wait_seconds=20, worker="worker-1")

_LEASE = Lease(token=_LEASE_TOKEN, epoch=1, expires_at=_at(64))

LEASED = LeasedJobs(
    jobs=[
        Job(
            id=_ID,
            filename=CREATE.filename,
            size_bytes=CREATE.size_bytes,
            content_type=CREATE.content_type,
            destination="default",
            etag=_ETAG,
            version="3HL4kqtJ",
            checksum=_SHA256,
            prove=[],
            metadata=CREATE.metadata,
            owner="user-17",
            batch="2026-11-20",
            attempts=_ATTEMPTS,
            lease=_LEASE,
            read=READ,
        )
    ]
)

RENEW = RenewRequest(lease=_LEASE_TOKEN, epoch=1)
RENEWED = RenewedLease(lease=_LEASE, read=READ)
RESULT = ResultRequest(lease=_LEASE_TOKEN, epoch=1, outcome="processed", result=msgspec.Raw(b'{"lines": 40960}'))
FINISHED = JobState(id=_ID, state=State.PROCESSED)
RELEASE = ReleaseRequest(lease=_LEASE_TOKEN, epoch=1, cause="drain")
RELEASED = JobState(id=_ID, state=State.VERIFIED)

S3_EVENT = {
    "Records": [
        {
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "acme-uploads"}, "object": {"key": _KEY, "size": CREATE.size_bytes}},
        }
    ]
}
RECEIPT = NotificationReceipt(accepted=1, ignored=0, malformed=0)

READY = Readiness(is_ready=True, problems=[])
NOT_READY = Readiness(is_ready=False, problems=["shard 00: the ledger does not answer"])

ABOUT = about("0.1.0")

METRICS = """\
# HELP broker_upload_bytes_total Bytes verified.
# TYPE broker_upload_bytes_total counter
broker_upload_bytes_total{destination="default"} 1.048576e+07
"""
