"""The words that leave the house: every JSON body of the wire, as msgspec Structs.

`consumer`, `uploader` and `emulators` import this module and nothing else of the broker, so it imports
msgspec alone. Requests refuse unknown fields; answers may grow new ones, which is why clients decode
them leniently (`forbid_unknown_fields` stands on requests only). Moments are RFC 3339 in UTC.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

CHECKSUM_ALGORITHMS = ("sha256", "crc32c", "crc64nvme", "md5")

MAX_BODY_BYTES = 5_500_000  # ours: the payload limit of the services this broker replaces
MAX_METADATA_BYTES = 4_096  # ours: stays in the ledger with the session
MAX_OBJECT_METADATA_BYTES = 1_024  # S3 allows 2 KB of user metadata; the capsule takes the rest
MAX_RESULT_BYTES = 65_536  # ours: a result is a receipt, not a data set
MAX_LEASE_BATCH = 100  # ours: jobs handed out by one call
MAX_BATCH = 1_000  # ours: sessions minted, asked about or listed by one call
MAX_COPIES = 16  # ours: destinations of one upload; their record is read and written as one
MAX_WAIT_SECONDS = 30  # ours: below the idle timeout of common load balancers (60 s)


class State(StrEnum):
    """Where an upload session stands."""

    PENDING = "pending"
    VERIFIED = "verified"
    PROCESSING = "processing"
    PROCESSED = "processed"
    FAILED = "failed"
    REJECTED = "rejected"
    EXPIRED = "expired"
    ABORTED = "aborted"


class Level(StrEnum):
    """Who keeps a promise about an upload."""

    ENFORCED = "enforced"  # the store refuses the bytes
    AT_HEAD = "at_head"  # the broker judges HEAD before any job exists
    ON_READ = "on_read"  # the consumer proves it while reading
    NONE = "none"  # nobody does


class SignedRequest(Struct, frozen=True, kw_only=True):
    """Permission to send one request straight to the store.

    `headers` is exactly what a client must set and a browser may set: never `host` or `content-length`.
    """

    method: str
    url: str
    headers: dict[str, str]
    expires_at: datetime

    def __repr__(self) -> str:
        return f"SignedRequest(method={self.method!r}, url=***, headers=***, expires_at={self.expires_at!r})"


class Guarantees(Struct, frozen=True, kw_only=True):
    size: Level
    content_type: Level
    create_only: Level
    checksum: Level


# --- upload sessions -------------------------------------------------------------------------------------


class Checksum(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Declared digests of the whole object, each in standard base64 as the stores spell them."""

    sha256: str | None = None
    crc32c: str | None = None
    crc64nvme: str | None = None
    md5: str | None = None


Filename = Annotated[str, Meta(min_length=1, max_length=1024, description="Any name; it never steers the path.")]
SizeBytes = Annotated[int, Meta(ge=0, le=5 * 1024**4, description="Exact length of the object in bytes.")]
# 127: RFC 6838 section 4.2 bounds each half so; ours bounds the whole, that it fits into a capsule.
# No outer blanks, which HEAD would not give back; `(?!\n)`, because Python's `$` also stands before a last newline.
ContentType = Annotated[
    str,
    Meta(
        max_length=127,
        pattern=r"^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+( *; *[!-~]([ -~]*[!-~])?)?$(?!\n)",
    ),
]
# Shown to people and written to logs: no control characters (C0, C1), no line or paragraph separators, nothing that
# turns the direction of what follows (UAX #9, section 2). `(?!\n)` as above.
_PLAIN = r"^[^\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]*$(?!\n)"
Plain = Annotated[str, Meta(pattern=_PLAIN)]
Label = Annotated[str, Meta(max_length=256, pattern=_PLAIN)]
DestinationName = Annotated[str, Meta(min_length=1, max_length=64, pattern=_PLAIN)]
Origin = Annotated[str, Meta(min_length=1, max_length=256, pattern=_PLAIN)]
Destinations = Annotated[
    list[DestinationName], Meta(min_length=2, max_length=MAX_COPIES, extra_json_schema={"uniqueItems": True})
]


class CreateUploadSession(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /upload-sessions`.

    `destination` is `default` where neither it nor `destinations` is given. `destinations` makes a copy in each of
    them: the client sends the same bytes to all, and there is one job. `origin` is that of the page which will send
    the bytes of a resumable upload, for the store lets no other read its answers; else it is the `Origin` of this call.
    """

    filename: Filename
    size_bytes: SizeBytes
    content_type: ContentType = "application/octet-stream"
    destination: DestinationName | msgspec.UnsetType = msgspec.UNSET
    checksum: Checksum = Checksum()
    metadata: dict[Plain, Plain] = {}
    object_metadata: dict[str, str] = {}
    owner: Label | None = None
    batch: Label | None = None
    strategy: Literal["auto", "put", "multipart", "resumable"] = "auto"
    destinations: Destinations | msgspec.UnsetType = msgspec.UNSET
    origin: Origin | msgspec.UnsetType = msgspec.UNSET


class ObjectRef(Struct, frozen=True, kw_only=True):
    destination: str
    bucket: str
    key: str


class PutUpload(Struct, frozen=True, kw_only=True, tag_field="strategy", tag="put"):
    request: SignedRequest


class PartRequest(Struct, frozen=True, kw_only=True):
    """Permission to send one part: bytes `offset_bytes` to `offset_bytes + size_bytes` of the object."""

    number: int
    offset_bytes: int
    size_bytes: int
    request: SignedRequest


class MultipartUpload(Struct, frozen=True, kw_only=True, tag_field="strategy", tag="multipart"):
    """`parts` is the first page of what is still missing; `POST …/parts` gives the others and fresh ones."""

    part_size_bytes: int
    part_count: int
    parts: list[PartRequest]


class ResumableUpload(Struct, frozen=True, kw_only=True, tag_field="strategy", tag="resumable"):
    """The bytes in order, piece by piece: each a PUT of `request` with a `content-range` (RFC 9110 section 14.4).

    A piece that is not the last is a multiple of `chunk_multiple_bytes`. A PUT of nothing with `bytes */N` asks how
    many bytes the store has. One URL for all of them, and for everybody who holds it: until the session ends.
    """

    request: SignedRequest
    chunk_multiple_bytes: int


Upload = PutUpload | MultipartUpload | ResumableUpload


class PartsRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /upload-sessions/{id}/parts`. `destination` names the copy that they are parts of."""

    numbers: Annotated[list[Annotated[int, Meta(ge=1, le=10_000)]], Meta(min_length=1, max_length=1_000)]
    destination: DestinationName | None = None


class PartsGrant(Struct, frozen=True, kw_only=True):
    """Answer of `POST /upload-sessions/{id}/parts`, in the order asked for."""

    parts: list[PartRequest]


class PartsStatus(Struct, frozen=True, kw_only=True):
    """How far a multipart upload is. `missing` names at most the first 1,000 parts that the store does not have."""

    part_size_bytes: int
    part_count: int
    stored_count: int
    stored_bytes: int
    missing: list[int]


class Reason(Struct, frozen=True, kw_only=True):
    """Why a session was rejected or failed: a stable kebab-case code and a sentence."""

    code: str
    message: str


class Step(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a session's timeline. A `note` tells what befell its object meanwhile: the state stays."""

    state: State
    at: datetime
    epoch: int = 0
    note: str | None = None


class Attempts(Struct, frozen=True, kw_only=True):
    """How often a job was tried. Only failures dead-letter."""

    leases: int
    failures: int
    lost_leases: int
    infrastructure: int


class StoredObject(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was verified, and is therefore what will be read."""

    size_bytes: int
    content_type: str
    etag: str
    version: str | None = None
    checksum: Checksum = Checksum()
    last_modified: datetime | None = None


class Copy(Struct, frozen=True, kw_only=True):
    """One destination of a fan-out; `upload` and `parts` as in a session.

    `problem` says why nothing is there, or why there is no `upload`: `POST …/upload` that names this destination mints
    it again, alone.
    """

    destination: str
    state: State
    object: ObjectRef
    guarantees: Guarantees
    upload: Upload | msgspec.UnsetType = msgspec.UNSET
    parts: PartsStatus | msgspec.UnsetType = msgspec.UNSET
    stored: StoredObject | msgspec.UnsetType = msgspec.UNSET
    problem: Reason | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        return f"Copy(destination={self.destination!r}, state={self.state.value!r})"


class UploadSession(Struct, frozen=True, kw_only=True):
    """An upload session as its owner sees it. `upload` and `token` come with a mint only.

    `parts` stands in the status of a pending multipart upload, while the store says what it has: absent, it says
    nothing, and nothing need be sent again. So does `offset_bytes` in that of a resumable one: of how many bytes, from
    the first on, the store says that it has them. A fan-out has `copies`, and what stands in each of them – `object`,
    `guarantees`, `upload`, `parts` – nowhere else.
    """

    id: str
    state: State
    created_at: datetime
    expires_at: datetime
    object: ObjectRef | msgspec.UnsetType = msgspec.UNSET
    guarantees: Guarantees | msgspec.UnsetType = msgspec.UNSET
    filename: str
    size_bytes: int
    content_type: str
    token: str | msgspec.UnsetType = msgspec.UNSET
    upload: Upload | msgspec.UnsetType = msgspec.UNSET
    parts: PartsStatus | msgspec.UnsetType = msgspec.UNSET
    offset_bytes: int | msgspec.UnsetType = msgspec.UNSET
    checksum: Checksum | msgspec.UnsetType = msgspec.UNSET
    metadata: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    owner: str | msgspec.UnsetType = msgspec.UNSET
    batch: str | msgspec.UnsetType = msgspec.UNSET
    stored: StoredObject | msgspec.UnsetType = msgspec.UNSET
    timeline: list[Step] | msgspec.UnsetType = msgspec.UNSET
    attempts: Attempts | msgspec.UnsetType = msgspec.UNSET
    result: Any = msgspec.UNSET  # whatever JSON the consumer reported
    reason: Reason | msgspec.UnsetType = msgspec.UNSET
    erased_at: datetime | msgspec.UnsetType = msgspec.UNSET
    copies: list[Copy] | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        return f"UploadSession(id={self.id!r}, state={self.state.value!r})"


class SessionEvent(Struct, frozen=True, kw_only=True):
    """`data` of one event of `GET /upload-sessions/{id}/events`: a step of the session's timeline.

    `reason` and `result` come with the state that they belong to. After `is_final` nothing more is expected, and the
    stream ends.
    """

    id: str
    state: State
    at: datetime
    epoch: int
    is_final: bool
    reason: Reason | msgspec.UnsetType = msgspec.UNSET
    result: Any = msgspec.UNSET  # whatever JSON the consumer reported


class RemintUpload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /upload-sessions/{id}/upload`; empty is fine, but for a fan-out: one copy is minted again."""

    destination: DestinationName | None = None


class CompleteUpload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /upload-sessions/{id}/completion`; empty is fine: of a fan-out all copies are looked at."""

    destination: DestinationName | None = None


# --- jobs ------------------------------------------------------------------------------------------------


class LeaseRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /jobs/lease`. `wait_seconds` is a long poll: the call answers early when work appears."""

    max: Annotated[int, Meta(ge=1, le=MAX_LEASE_BATCH)] = 1
    wait_seconds: Annotated[float, Meta(ge=0, le=MAX_WAIT_SECONDS)] = 0
    worker: Annotated[str, Meta(max_length=128, pattern=_PLAIN)] = ""


class Lease(Struct, frozen=True, kw_only=True):
    """The right to finish one job, fenced by its epoch."""

    token: str
    epoch: int
    expires_at: datetime

    def __repr__(self) -> str:
        return f"Lease(token=***, epoch={self.epoch}, expires_at={self.expires_at!r})"


class Job(Struct, frozen=True, kw_only=True):
    """A verified upload, leased. `read` is a GET of minutes pinned to what was verified.

    `prove` names the declared digests that no store has checked: the consumer does, while reading. `traceparent` (W3C
    Trace Context) is of the request that minted it, if somebody follows that.
    """

    id: str
    filename: str
    size_bytes: int
    content_type: str
    destination: str
    etag: str
    version: str | None
    checksum: Checksum
    prove: list[str]
    metadata: dict[str, str]
    owner: str | None
    batch: str | None
    attempts: Attempts
    lease: Lease
    read: SignedRequest
    traceparent: str | None = None


class LeasedJobs(Struct, frozen=True, kw_only=True):
    jobs: list[Job]


class RenewRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /jobs/{id}/renew`."""

    lease: str
    epoch: int


class RenewedLease(Struct, frozen=True, kw_only=True):
    lease: Lease
    read: SignedRequest


class ResultRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /jobs/{id}/result`.

    `processed` carries `result`; `retry` counts as a failure and comes back after `retry_after_seconds`
    until the destination's limit; `failed` ends the job now; `rejected` says the bytes are not what was declared
    or not acceptable.
    """

    lease: str
    epoch: int
    outcome: Literal["processed", "failed", "retry", "rejected"]
    result: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))  # JSON Schema cannot show a Raw
    reason: Reason | None = None
    retry_after_seconds: Annotated[float, Meta(ge=0, le=86_400)] | None = None


class ReleaseRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /jobs/{id}/release`: give the job back, not counted as a failure.

    `drain`: the worker is stopping; `infrastructure`: store or network trouble, counted apart and backed off.
    """

    lease: str
    epoch: int
    cause: Literal["drain", "infrastructure"] = "drain"


class JobState(Struct, frozen=True, kw_only=True):
    id: str
    state: State


# --- webhooks --------------------------------------------------------------------------------------------

WebhookType = Literal["session.verified", "session.rejected", "session.expired", "session.processed", "session.failed"]


class WebhookCopy(Struct, frozen=True, kw_only=True):
    """A copy of a fan-out as it is when this is sent: copies go on by themselves."""

    destination: str
    state: State
    object: ObjectRef


class WebhookSession(Struct, frozen=True, kw_only=True):
    """A session as it was when the event happened, which may be some time ago. No URL, no token.

    `stored` stands from verified on and for what was rejected, `reason` when it ended badly, `result` when processed. A
    fan-out has `copies`; its `object` is that of its first verified copy, and until there is one of its first.
    """

    id: str
    state: State
    epoch: int
    created_at: datetime
    object: ObjectRef
    filename: str
    size_bytes: int
    content_type: str
    checksum: Checksum | msgspec.UnsetType = msgspec.UNSET
    metadata: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    owner: str | msgspec.UnsetType = msgspec.UNSET
    batch: str | msgspec.UnsetType = msgspec.UNSET
    stored: StoredObject | msgspec.UnsetType = msgspec.UNSET
    reason: Reason | msgspec.UnsetType = msgspec.UNSET
    result: Any = msgspec.UNSET  # whatever JSON the consumer reported
    copies: list[WebhookCopy] | msgspec.UnsetType = msgspec.UNSET


class WebhookEvent(Struct, frozen=True, kw_only=True):
    """What a webhook is told. `timestamp` says when it happened; the header `webhook-timestamp` when it was sent."""

    type: WebhookType
    timestamp: datetime
    data: WebhookSession


class WebhookTestTarget(Struct, frozen=True, kw_only=True):
    webhook: str


class WebhookTest(Struct, frozen=True, kw_only=True):
    """What `upload-broker webhooks test` sends: signed as all others, about no session."""

    type: Literal["webhook.test"]
    timestamp: datetime
    data: WebhookTestTarget


# --- notifications, health, problems ---------------------------------------------------------------------


class NotificationReceipt(Struct, frozen=True, kw_only=True):
    """How the records of one notification were taken. Every count is a hint; nothing was settled yet."""

    accepted: int
    ignored: int
    malformed: int


class Limits(Struct, frozen=True, kw_only=True):
    max_body_bytes: int
    max_metadata_bytes: int
    max_object_metadata_bytes: int
    max_result_bytes: int
    max_lease_batch: int
    max_batch: int
    max_wait_seconds: int


class About(Struct, frozen=True, kw_only=True):
    name: str
    version: str
    limits: Limits
    strategies: list[str]


class Readiness(Struct, frozen=True, kw_only=True):
    """`problems` keep the broker from working as promised; `warnings` will, if nobody acts."""

    is_ready: bool
    problems: list[str]
    warnings: list[str] = []


class FieldProblem(Struct, frozen=True, kw_only=True):
    """One fault of a request, named by RFC 6901 pointer into its body."""

    pointer: str
    code: str
    message: str


class Problem(Struct, frozen=True, kw_only=True):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    is_retryable: bool
    errors: list[FieldProblem] = []


# --- many upload sessions at once ------------------------------------------------------------------------


class BatchItem(CreateUploadSession, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a call of its own would carry: the body, and its Idempotency-Key.

    `is_announced`: whoever sends the bytes says when they are there, by `POST …/completion`, so nobody need look
    earlier. Of one that is not announced after all the broker learns up to a minute late, unless the bucket tells.
    """

    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[ -~]+$(?!\n)")] | None = None
    is_announced: bool = False


class CreateUploadSessions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /upload-sessions/batch`. An item that is wrong spoils no other."""

    sessions: Annotated[list[BatchItem], Meta(min_length=1, max_length=MAX_BATCH)]


class SessionOrProblem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item's answer: `session` or `problem`, whose pointers lead into the body of the whole request.

    `is_replayed`: the session is not new, the same request made it before.
    """

    session: UploadSession | msgspec.UnsetType = msgspec.UNSET
    problem: Problem | msgspec.UnsetType = msgspec.UNSET
    is_replayed: bool = False


class SessionsOrProblems(Struct, frozen=True, kw_only=True):
    """What became of each item, in the order of the request."""

    sessions: list[SessionOrProblem]


class StatusRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /upload-sessions/status`."""

    ids: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(min_length=1, max_length=MAX_BATCH)]


class CompleteUploads(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /upload-sessions/completion`."""

    ids: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(min_length=1, max_length=MAX_BATCH)]


class CompletionOrProblem(Struct, frozen=True, kw_only=True):
    """One item's answer: `session` or `problem`.

    `is_looked_at`: the session is settled, or the store was asked after the call came: a session that is still
    `pending` has nothing there, or not all of its parts. Where it is false, ask again after a second.
    """

    session: UploadSession | msgspec.UnsetType = msgspec.UNSET
    problem: Problem | msgspec.UnsetType = msgspec.UNSET
    is_looked_at: bool


class CompletionsOrProblems(Struct, frozen=True, kw_only=True):
    """What became of each upload, in the order of the request."""

    sessions: list[CompletionOrProblem]


class SessionPage(Struct, frozen=True, kw_only=True):
    """A page of one's own sessions, newest first; without `cursor` it is the last one."""

    sessions: list[UploadSession]
    cursor: str | msgspec.UnsetType = msgspec.UNSET
