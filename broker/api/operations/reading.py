"""How a client learns where its uploads stand, and gets back what it sent."""

from broker.api import examples
from broker.api.auth import KeyOf, SessionOfBearer, SessionOfKey, Visit, VisitOfBearer
from broker.api.operations.shape import (
    BODY_PROBLEMS,
    EVENT_STREAM,
    LAST_EVENT_ID,
    LOCATION,
    SIGNING_PROBLEMS,
    Body,
    Operation,
    Parameter,
    Reply,
)
from broker.contract import (
    MAX_BATCH,
    SessionEvent,
    SessionPage,
    SessionsOrProblems,
    SignedRequest,
    State,
    StatusRequest,
    UploadSession,
)
from broker.domain import errors
from broker.domain.principals import ApiKey, Role
from broker.domain.sessions import Session

_LABEL = {"type": "string", "maxLength": 256}

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
    text="Of a pending multipart upload, `parts` says what is missing; of a resumable one, `offset_bytes` how much the "
    "store has. They are left out while the store does not say.",
    access=SessionOfBearer(),
    replies=(Reply(status=200, text="The session", kind=UploadSession, example=examples.PROCESSED_SESSION),),
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
