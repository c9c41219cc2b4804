"""Every route of the broker, as data: what `mount` serves and what the OpenAPI says are this one table."""

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from msgspec import Struct

from broker.api import examples
from broker.api.auth import Access, Everyone, KeyOf, SessionOfBearer, SessionOfKey, Visit, VisitOfBearer
from broker.contract import (
    MAX_BATCH,
    About,
    CompleteUpload,
    CreateUploadSession,
    CreateUploadSessions,
    JobState,
    LeasedJobs,
    LeaseRequest,
    NotificationReceipt,
    PartsGrant,
    PartsRequest,
    Readiness,
    ReleaseRequest,
    RemintUpload,
    RenewedLease,
    RenewRequest,
    ResultRequest,
    SessionEvent,
    SessionPage,
    SessionsOrProblems,
    SignedRequest,
    State,
    StatusRequest,
    UploadSession,
)
from broker.domain import errors
from broker.domain.errors import BrokerError
from broker.domain.principals import ApiKey, Role
from broker.domain.sessions import Session

C = TypeVar("C")

TEXT = "text/plain"
EVENT_STREAM = "text/event-stream"
BODY_PROBLEMS = (
    errors.NotJson,
    errors.MalformedRequest,
    errors.BodyTooLarge,
    errors.BodyTypeUnsupported,
    errors.InvalidInput,
)
SIGNING_PROBLEMS = (errors.CredentialsUnavailable,)
STORE_PROBLEMS = (errors.StoreUnavailable, errors.StoreRefused, *SIGNING_PROBLEMS)
GRANT_PROBLEMS = (
    errors.SessionSettled,
    errors.CompletionInProgress,
    errors.IdempotencyInFlight,
    errors.Overloaded,
    *STORE_PROBLEMS,
)
_LABEL = {"type": "string", "maxLength": 256}
RETRY_AFTER = "Retry-After"
REPLAYED = "Idempotency-Replayed"
LOCATION = "Location"
LAST_EVENT_ID = "Last-Event-ID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a request carries. An optional one may be left out whole."""

    kind: type[Struct] | None = None  # None: any bytes
    is_required: bool = True
    example: Struct | dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer that is not a problem. Of an event stream `kind` is the `data` of each event."""

    status: int
    text: str
    kind: type[Struct] | None = None
    media_type: str = "application/json"
    headers: tuple[str, ...] = ()
    example: Struct | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A header or a query parameter; those in the path are in the path."""

    name: str
    place: Literal["header", "query"]
    text: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[C]):
    """One method of one path. `access` decides who may call, and what the handler is given to know it by."""

    id: str
    method: Literal["GET", "POST", "DELETE"]
    path: str
    tag: str
    summary: str
    access: Access[C]
    replies: tuple[Reply, ...]
    text: str = ""
    body: Body | None = None
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[type[BrokerError], ...] = ()


CREATE: Operation[ApiKey] = Operation(
    id="createUploadSession",
    method="POST",
    path="/upload-sessions",
    tag="upload sessions",
    summary="Ask for permission to upload one object",
    text="Send the bytes by `upload.request` exactly as it is signed; the bucket's notification starts the processing. "
    "With `destinations` the answer has `copies`, each with an `upload` of its own, to which the same bytes are sent. "
    "Each store must prove by itself all that `checksum` declares. There is one job, as soon as enough copies are "
    "verified.",
    access=KeyOf(Role.MINT),
    body=Body(kind=CreateUploadSession, example=examples.CREATE),
    parameters=(
        Parameter(
            name="Idempotency-Key",
            place="header",
            text="Makes the call safe to send again: the same key and body find the same session.",
            schema={"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
        ),
    ),
    replies=(
        Reply(
            status=201, text="A new session", kind=UploadSession, headers=(LOCATION,), example=examples.MINTED_SESSION
        ),
        Reply(
            status=200,
            text="The session that the same request made before, with fresh signed requests",
            kind=UploadSession,
            headers=(LOCATION, REPLAYED),
            example=examples.MINTED_SESSION,
        ),
    ),
    problems=(
        *BODY_PROBLEMS,
        errors.SizeTooLarge,
        errors.ContentTypeNotAllowed,
        errors.ChecksumInvalid,
        errors.ChecksumNotProvable,
        errors.MetadataTooLarge,
        errors.MetadataInvalid,
        errors.StrategyTooWeak,
        errors.UnknownDestination,
        errors.IdempotencyKeyInvalid,
        errors.IdempotencyKeyReused,
        errors.RateLimited,
        errors.QuotaExceeded,
        *GRANT_PROBLEMS,
    ),
)

BATCH: Operation[ApiKey] = Operation(
    id="createUploadSessions",
    method="POST",
    path="/upload-sessions/batch",
    tag="upload sessions",
    summary="Ask for permission to upload many objects",
    text="Each item is answered in its place as a call of its own would be, its `idempotency_key` standing for the "
    "header: the two find each other's sessions. An item that is wrong spoils no other. Of many uploads in parts each "
    "gets a shorter first page.",
    access=KeyOf(Role.MINT),
    body=Body(kind=CreateUploadSessions, example=examples.BATCH),
    replies=(
        Reply(
            status=200,
            text="A session or a problem for each item, in order",
            kind=SessionsOrProblems,
            example=examples.BATCH_ANSWERS,
        ),
    ),
    problems=BODY_PROBLEMS,
)

STATUSES: Operation[ApiKey] = Operation(
    id="getUploadSessions",
    method="POST",
    path="/upload-sessions/status",
    tag="upload sessions",
    summary="Where many sessions stand",
    text="In the order asked for, as the broker knows them: no store is asked how far uploads in parts are, and "
    "timeline and result stand in the status of a single session.",
    access=KeyOf(Role.MINT),
    body=Body(kind=StatusRequest, example=examples.IDS),
    replies=(
        Reply(
            status=200,
            text="A session or a problem for each id, in order",
            kind=SessionsOrProblems,
            example=examples.STATUSES,
        ),
    ),
    problems=BODY_PROBLEMS,
)

LISTING: Operation[ApiKey] = Operation(
    id="listUploadSessions",
    method="GET",
    path="/upload-sessions",
    tag="upload sessions",
    summary="One's own sessions, newest first",
    text="Filters are combined. A page may be short, or empty, and yet not the last: the last one has no `cursor`. "
    "What is created meanwhile disturbs no page. Sessions that the broker has forgotten are gone.",
    access=KeyOf(Role.MINT),
    parameters=(
        Parameter(
            name="state",
            place="query",
            text="Only sessions in this state.",
            schema={"type": "string", "enum": [state.value for state in State]},
        ),
        Parameter(name="batch", place="query", text="Only those minted with this label.", schema=_LABEL),
        Parameter(name="owner", place="query", text="Only those minted with this label.", schema=_LABEL),
        Parameter(
            name="limit",
            place="query",
            text="At most so many.",
            schema={"type": "integer", "minimum": 1, "maximum": MAX_BATCH, "default": 100},
        ),
        Parameter(
            name="cursor", place="query", text="From the page before.", schema={"type": "string", "maxLength": 128}
        ),
    ),
    replies=(Reply(status=200, text="A page", kind=SessionPage, example=examples.PAGE),),
    problems=(errors.InvalidInput,),
)

GET_SESSION: Operation[Session] = Operation(
    id="getUploadSession",
    method="GET",
    path="/upload-sessions/{session_id}",
    tag="upload sessions",
    summary="Where a session stands",
    text="Of a pending multipart upload, `parts` says what is missing; it is left out while the store does not say.",
    access=SessionOfBearer(),
    replies=(Reply(status=200, text="The session", kind=UploadSession, example=examples.PROCESSED_SESSION),),
)

REMINT: Operation[Session] = Operation(
    id="remintUpload",
    method="POST",
    path="/upload-sessions/{session_id}/upload",
    tag="upload sessions",
    summary="Fresh signed requests for a pending session, or for one copy of a fan-out",
    text="Of an upload in parts the first page of what the store does not have yet. Of a fan-out `destination` names "
    "the copy: one that is pending gets fresh requests; one that was rejected or has expired begins anew, with a key "
    "and a deadline of its own, also when the session is settled – unless it was aborted, rejected by its consumer or "
    "erased.",
    access=SessionOfBearer(),
    body=Body(kind=RemintUpload, is_required=False, example=RemintUpload(destination="default")),
    replies=(Reply(status=200, text="Fresh requests", kind=UploadSession, example=examples.MINTED_IN_PARTS),),
    problems=(
        *BODY_PROBLEMS,
        errors.UnknownDestination,
        errors.SizeTooLarge,
        errors.StrategyTooWeak,
        errors.ChecksumNotProvable,
        errors.ObjectErased,
        *GRANT_PROBLEMS,
    ),
)

PARTS: Operation[Session] = Operation(
    id="mintParts",
    method="POST",
    path="/upload-sessions/{session_id}/parts",
    tag="upload sessions",
    summary="Fresh signed requests for some parts of a multipart upload",
    text="In the order asked for; a number that stands twice is answered twice.",
    access=SessionOfBearer(),
    body=Body(kind=PartsRequest, example=examples.PARTS),
    replies=(Reply(status=200, text="Fresh requests", kind=PartsGrant, example=examples.GRANTED_PARTS),),
    problems=(*BODY_PROBLEMS, errors.UnknownDestination, errors.NotMultipart, errors.ObjectErased, *GRANT_PROBLEMS),
)

COMPLETE: Operation[Session] = Operation(
    id="completeUpload",
    method="POST",
    path="/upload-sessions/{session_id}/completion",
    tag="upload sessions",
    summary="Say that the upload is done",
    text="A hint: the broker looks at the bucket, at most once a second for one session or copy, and believes only "
    "that. Parts are put together when they are all there at their sizes, and by nobody else. Of a fan-out "
    "`destination` says which copy is done; without it all are looked at.",
    access=SessionOfBearer(),
    body=Body(kind=CompleteUpload, is_required=False, example=CompleteUpload(destination="default")),
    replies=(
        Reply(status=200, text="Settled", kind=UploadSession, example=examples.VERIFIED_SESSION),
        Reply(
            status=202,
            text="Nothing was found yet, parts are missing or are being put together; ask again",
            kind=UploadSession,
            headers=(RETRY_AFTER,),
            example=examples.PENDING_SESSION,
        ),
    ),
    problems=(*BODY_PROBLEMS, errors.UnknownDestination, *STORE_PROBLEMS),
)

ABORT: Operation[Session] = Operation(
    id="abortUpload",
    method="DELETE",
    path="/upload-sessions/{session_id}",
    tag="upload sessions",
    summary="Give a pending session up",
    access=SessionOfBearer(),
    replies=(Reply(status=200, text="Aborted", kind=UploadSession, example=examples.ABORTED_SESSION),),
    problems=(errors.SessionSettled, errors.CompletionInProgress, errors.UnknownDestination, errors.Overloaded),
)

ERASE: Operation[Session] = Operation(
    id="eraseObject",
    method="DELETE",
    path="/upload-sessions/{session_id}/object",
    tag="upload sessions",
    summary="Erase the stored object of a settled session",
    text="Needs the role `erase` beside the ownership of the session, or `admin`. Nobody is given a read from then on; "
    "a job that waits or is under way has failed with `erased`, and its consumer has lost its lease. Exactly what was "
    "verified is removed, and whatever a signed request of this session still brings. Session and result stay.",
    access=SessionOfKey(Role.ERASE),
    replies=(
        Reply(status=200, text="The object is gone", kind=UploadSession, example=examples.ERASED_SESSION),
        Reply(
            status=202,
            text="Recorded; the store did not remove it yet, and the broker tries until it does",
            kind=UploadSession,
            headers=(RETRY_AFTER,),
            example=examples.ERASED_SESSION,
        ),
    ),
    problems=(
        errors.SessionNotVerified,
        errors.SessionSettled,
        errors.CompletionInProgress,
        errors.UnknownDestination,
        errors.Overloaded,
    ),
)

CONTENT: Operation[Session] = Operation(
    id="readContent",
    method="GET",
    path="/upload-sessions/{session_id}/content",
    tag="upload sessions",
    summary="A signed GET of minutes, pinned to what was verified",
    access=SessionOfKey(),
    parameters=(
        Parameter(
            name="redirect",
            place="query",
            text="`1`: answer 303 to the signed URL, where the URL alone pins the object.",
            schema={"type": "string", "enum": ["0", "1"], "default": "0"},
        ),
        Parameter(
            name="destination",
            place="query",
            text="Of a fan-out, which copy; without it the first that is verified.",
            schema={"type": "string", "minLength": 1, "maxLength": 64},
        ),
    ),
    replies=(
        Reply(status=200, text="The signed request", kind=SignedRequest, example=examples.READ),
        Reply(status=303, text="The signed URL", headers=(LOCATION,)),
    ),
    problems=(
        errors.InvalidInput,
        errors.SessionNotVerified,
        errors.ObjectErased,
        errors.PinNotInUrl,
        errors.UnknownDestination,
        *SIGNING_PROBLEMS,
    ),
)

EVENTS: Operation[Visit] = Operation(
    id="watchSession",
    method="GET",
    path="/upload-sessions/{session_id}/events",
    tag="upload sessions",
    summary="What becomes of a session, as server-sent events",
    text="The timeline so far, then each step as it happens; the one that says `is_final` is the last. A comment every "
    "15 seconds shows that the connection lives. It ends after an hour at most, or when the broker stops: come back "
    "with the last `id`, which is the step's moment in Unix milliseconds. A browser's own `EventSource` cannot send "
    "`Authorization`: read the stream with `fetch`.",
    access=VisitOfBearer(),
    parameters=(
        Parameter(
            name=LAST_EVENT_ID,
            place="header",
            text="The `id` of the last event that arrived: only later steps are told.",
            schema={"type": "string", "pattern": "^[0-9]{1,13}$"},
        ),
    ),
    replies=(
        Reply(
            status=200,
            text="A stream of events named `state`",
            kind=SessionEvent,
            media_type=EVENT_STREAM,
            example=examples.SESSION_EVENT,
        ),
        Reply(status=204, text="The last step was told before; do not come back"),
    ),
    problems=(errors.InvalidInput, errors.Overloaded),
)

LEASE: Operation[ApiKey] = Operation(
    id="leaseJobs",
    method="POST",
    path="/jobs/lease",
    tag="jobs",
    summary="Lease verified uploads to process",
    text="A long poll: answers as soon as there is work, else after `wait_seconds` with none. A key with "
    "`destinations` is given only jobs that it can read from these, and only those it may renew, finish and release.",
    access=KeyOf(Role.CONSUME),
    body=Body(kind=LeaseRequest, is_required=False, example=examples.LEASE),
    replies=(Reply(status=200, text="Leased jobs, perhaps none", kind=LeasedJobs, example=examples.LEASED),),
    problems=BODY_PROBLEMS,
)

RENEW: Operation[ApiKey] = Operation(
    id="renewLease",
    method="POST",
    path="/jobs/{job_id}/renew",
    tag="jobs",
    summary="Keep a lease, with a fresh read",
    access=KeyOf(Role.CONSUME),
    body=Body(kind=RenewRequest, example=examples.RENEW),
    replies=(Reply(status=200, text="The lease, longer", kind=RenewedLease, example=examples.RENEWED),),
    problems=(*BODY_PROBLEMS, errors.LeaseLost, errors.UnknownDestination, *SIGNING_PROBLEMS),
)

RESULT: Operation[ApiKey] = Operation(
    id="finishJob",
    method="POST",
    path="/jobs/{job_id}/result",
    tag="jobs",
    summary="Report how a job ended",
    access=KeyOf(Role.CONSUME),
    body=Body(kind=ResultRequest, example=examples.RESULT),
    replies=(Reply(status=200, text="Where the session stands now", kind=JobState, example=examples.FINISHED),),
    problems=(*BODY_PROBLEMS, errors.ResultTooLarge, errors.LeaseLost),
)

RELEASE: Operation[ApiKey] = Operation(
    id="releaseJob",
    method="POST",
    path="/jobs/{job_id}/release",
    tag="jobs",
    summary="Give a job back, not counted as a failure",
    access=KeyOf(Role.CONSUME),
    body=Body(kind=ReleaseRequest, example=examples.RELEASE),
    replies=(Reply(status=200, text="Where the session stands now", kind=JobState, example=examples.RELEASED),),
    problems=(*BODY_PROBLEMS, errors.LeaseLost),
)

NOTIFY: Operation[None] = Operation(
    id="notify",
    method="POST",
    path="/notifications/{source}",
    tag="notifications",
    summary="Events of a bucket",
    text="Its door authenticates the sender: by a token (`s3_event`, `eventbridge`), or by the signature of SNS "
    "(`sns`), whose subscriptions it confirms. The body is a message of S3's structure, the same in an SNS envelope, "
    "or an event of EventBridge. What is authentic and cannot be read, or is about something else, is counted and "
    "answered with 200.",
    access=Everyone(),
    body=Body(example=examples.S3_EVENT),
    replies=(Reply(status=200, text="Recorded", kind=NotificationReceipt, example=examples.RECEIPT),),
    problems=(
        errors.MalformedRequest,
        errors.BodyTooLarge,
        errors.SourceNotFound,
        errors.NotAuthentic,
        errors.SenderUnavailable,
        errors.LedgerUnavailable,
    ),
)

LIVE: Operation[None] = Operation(
    id="live",
    method="GET",
    path="/healthz",
    tag="health",
    summary="Whether the process answers",
    access=Everyone(),
    replies=(Reply(status=200, text="It does", media_type=TEXT, example="ok\n"),),
)

READY: Operation[None] = Operation(
    id="ready",
    method="GET",
    path="/readyz",
    tag="health",
    summary="Whether the broker can work, and what is wrong",
    access=Everyone(),
    replies=(
        Reply(status=200, text="Ready", kind=Readiness, example=examples.READY),
        Reply(status=503, text="Not ready", kind=Readiness, headers=(RETRY_AFTER,), example=examples.NOT_READY),
    ),
)

ABOUT: Operation[None] = Operation(
    id="about",
    method="GET",
    path="/",
    tag="health",
    summary="Version and limits",
    access=Everyone(),
    replies=(Reply(status=200, text="Version and limits", kind=About, example=examples.ABOUT),),
)

METRICS: Operation[ApiKey] = Operation(
    id="metrics",
    method="GET",
    path="/metrics",
    tag="health",
    summary="What Prometheus scrapes",
    text="The text format 0.0.4; OpenMetrics 1.0.0 where `Accept` names it. A key that stands in the configuration is "
    "known while the ledger is away, too.",
    access=KeyOf(Role.OBSERVE),
    replies=(Reply(status=200, text="The metrics of this process", media_type=TEXT, example=examples.METRICS),),
)

OPERATIONS: tuple[Operation[Any], ...] = (
    CREATE,
    BATCH,
    STATUSES,
    LISTING,
    GET_SESSION,
    REMINT,
    PARTS,
    COMPLETE,
    ABORT,
    ERASE,
    CONTENT,
    EVENTS,
    LEASE,
    RENEW,
    RESULT,
    RELEASE,
    NOTIFY,
    LIVE,
    READY,
    ABOUT,
    METRICS,
)
