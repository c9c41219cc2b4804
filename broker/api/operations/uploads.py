"""What a client does with its uploads: ask for signed requests, and end what it began."""

from broker.api import examples
from broker.api.auth import KeyOf, SessionOfBearer, SessionOfKey
from broker.api.operations.shape import (
    BODY_PROBLEMS,
    GRANT_PROBLEMS,
    LOCATION,
    REPLAYED,
    RETRY_AFTER,
    STORE_PROBLEMS,
    Body,
    Operation,
    Parameter,
    Reply,
)
from broker.contract import (
    CompleteUpload,
    CompleteUploads,
    CompletionsOrProblems,
    CreateUploadSession,
    CreateUploadSessions,
    PartsGrant,
    PartsRequest,
    RemintUpload,
    SessionsOrProblems,
    UploadSession,
)
from broker.domain import errors
from broker.domain.principals import ApiKey, Role
from broker.domain.sessions import Session

CREATE: Operation[ApiKey] = Operation(
    id="createUploadSession",
    method="POST",
    path="/upload-sessions",
    tag="upload sessions",
    summary="Ask for permission to upload one object",
    text="Send the bytes by `upload.request` exactly as it is signed; the bucket's notification starts the processing. "
    "With `destinations` the answer has `copies`, each with an `upload` of its own, to which the same bytes are sent. "
    "Each store must prove one and the same digest of `checksum` by itself. There is one job, as soon as enough "
    "copies are verified. Where a store opens uploads itself, an `upload` of strategy `resumable` is one URL for all "
    "bytes, sent in order and taken up again wherever they broke off; the broker cancels it when the session ends. "
    "`auto` chooses by size, and by what the destination requires.",
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
            example=examples.MINTED_RESUMABLE,
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
        errors.OriginNotAllowed,
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

REMINT: Operation[Session] = Operation(
    id="remintUpload",
    method="POST",
    path="/upload-sessions/{session_id}/upload",
    tag="upload sessions",
    summary="Fresh signed requests for a pending session, or for one copy of a fan-out",
    text="Of an upload in parts the first page of what the store does not have yet. A resumable upload keeps its URL "
    "as long as the store knows it, else gets a new one and begins anew. Of a fan-out `destination` names "
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

COMPLETE_MANY: Operation[ApiKey] = Operation(
    id="completeUploads",
    method="POST",
    path="/upload-sessions/completion",
    tag="upload sessions",
    summary="Say of many uploads that they are done",
    text="Each is looked at as a call of its own would look: at most once a second, and only what the bucket has is "
    "believed. Some are looked at at a time, for five seconds at most; of those that are not reached the next look is "
    "due at once. `is_looked_at` says whether what stands there is news. An upload that is in trouble spoils no other.",
    access=KeyOf(Role.MINT),
    body=Body(kind=CompleteUploads, example=examples.COMPLETED_IDS),
    replies=(
        Reply(
            status=200,
            text="A session or a problem for each id, in order",
            kind=CompletionsOrProblems,
            example=examples.COMPLETIONS,
        ),
    ),
    problems=BODY_PROBLEMS,
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
