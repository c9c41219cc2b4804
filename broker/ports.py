"""Floor 1: what the use cases need of the world, one small Protocol per right.

A store is a `Bucket`: its destination and the rights we hold there. The ledger is six rights over the same records;
a use case asks for those it needs. Every method raises only errors of `broker.domain.errors`.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from broker.contract import Guarantees, Reason, SignedRequest, State
from broker.domain.errors import BrokerError
from broker.domain.multipart import StoredPart
from broker.domain.objects import ObjectInfo, Pin, UploadSpec
from broker.domain.policy import Destination
from broker.domain.principals import ApiKey, Rate
from broker.domain.sessions import Change, Session
from broker.domain.tombstones import Tombstone
from broker.domain.webhooks import Attempt


class Clock(Protocol):
    def now(self) -> datetime:
        """The present moment: aware, UTC."""


# --- the store -------------------------------------------------------------------------------------------


class PutSigner(Protocol):
    """Permits one object, one size, one type, once."""

    def binds(self, spec: UploadSpec) -> Guarantees:
        """Who will keep each promise about `spec` if it is sent by the request that `sign_put` makes."""

    async def sign_put(
        self, key: str, spec: UploadSpec, capsule: str, *, now: datetime, ends: datetime
    ) -> SignedRequest:
        """A PUT of exactly `spec` under `key`, carrying `capsule` as object metadata `upload-session`.

        The caller guarantees that key, metadata and checksums were checked. `expires_at` of the answer is never
        later than `ends`, than the credential lives, or than the request really works.
        :raises CredentialsUnavailable:
        """


class GetSigner(Protocol):
    """Permits reading one stored state of one object."""

    async def sign_get(
        self, key: str, pin: Pin | None, *, filename: str, now: datetime, ends: datetime
    ) -> SignedRequest:
        """A GET that fails when the object is not what `pin` names; always served as an attachment.

        A version stands in the URL itself; without one the ETag is a signed `if-match` header, which a bare redirect
        cannot carry. None pins nothing: only for a key that was written once by guarantee.
        :raises CredentialsUnavailable:
        """


class ObjectHead(Protocol):
    async def head(self, key: str) -> ObjectInfo | None:
        """What is stored under `key` now, strongly consistent, or None.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """

    async def head_version(self, key: str, version: str) -> ObjectInfo | None:
        """What one version of `key` is, latest or not; None where it is gone.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """


class ObjectRemover(Protocol):
    async def remove(self, key: str, pin: Pin) -> bool:
        """Removes exactly the state that `pin` names. False when something else, or nothing, is there.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """


class PartSigner(Protocol):
    """Permits one part of one multipart upload, at one length."""

    def binds(self, spec: UploadSpec) -> Guarantees:
        """Who will keep each promise about `spec` if it comes in parts that only the broker completes."""

    async def sign_part(
        self, key: str, upload_id: str, number: int, size_bytes: int, *, now: datetime, ends: datetime
    ) -> SignedRequest:
        """A PUT of exactly `size_bytes` as part `number`. `expires_at` as for `PutSigner`.

        :raises CredentialsUnavailable:
        """


class MultipartUploads(Protocol):
    """Opening and closing multipart uploads; the client only ever sends parts."""

    async def open(self, key: str, spec: UploadSpec, capsule: str) -> str:
        """Starts an upload that will make `spec` with `capsule` as its metadata; its upload id.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """

    async def parts(self, key: str, upload_id: str) -> list[StoredPart] | None:
        """Everything that has been uploaded, by number; None when there is no such upload (any more).

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """

    async def complete(self, key: str, upload_id: str, parts: Sequence[StoredPart]) -> bool:
        """Makes the object of exactly these parts, create-only where the store can.

        True when the store said so. False when there is no such upload or the key is taken: HEAD decides what that
        means. A 200 with an error in its body is an error.
        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """


class MultipartRemover(Protocol):
    """Clearing away what was begun under a key."""

    async def open_uploads(self, key: str) -> list[str]:
        """The ids of every unfinished upload of exactly this key, also of those that nobody recorded.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """

    async def abort(self, key: str, upload_id: str) -> bool:
        """True once nothing of it is left; False when a part in flight may still land, so that it must be repeated.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class MultipartRights:
    """What it takes to receive an object in parts."""

    signer: PartSigner
    uploads: MultipartUploads
    remover: MultipartRemover


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedObject:
    """One stored state as a listing shows it: no metadata, so nothing proves yet whose it is."""

    key: str
    size_bytes: int
    etag: str
    version: str | None
    is_latest: bool
    last_modified: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedUpload:
    """A multipart upload that was begun and neither completed nor aborted. Its bytes are in no listing."""

    key: str
    upload_id: str
    initiated: datetime


class ObjectLister(Protocol):
    """What lies under the destination's prefix, page by page; a page is as old as the call that fetched it."""

    def objects(self) -> AsyncIterator[Sequence[ListedObject]]:
        """Every stored state in order of keys, older versions too, without delete markers. A page may be empty.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable: what was not listed is unknown, not absent.
        """

    def uploads(self) -> AsyncIterator[Sequence[UnfinishedUpload]]:
        """Every unfinished multipart upload.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """


class StoreMark(Protocol):
    """The note in a destination that says whose ledger knows its objects."""

    async def read(self) -> str | None:
        """The store id that is noted there; None where nobody left a note.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable: also when what is there is no such note.
        """

    async def write(self, store_id: str, *, now: datetime) -> None:
        """Leaves a note unless there is one. Whose it is then, `read` tells.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One destination and our rights there. A capability that the store lacks is None."""

    destination: Destination
    put: PutSigner
    get: GetSigner
    objects: ObjectHead
    remover: ObjectRemover
    multipart: MultipartRights | None = None
    consumer_get: GetSigner | None = None  # the right of `get`, where consumers reach the store by another address
    lister: ObjectLister | None = None
    mark: StoreMark | None = None


Buckets = Mapping[str, Bucket]


# --- the doors -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One notification as it came in."""

    headers: Mapping[str, str]  # names in lower case
    query: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """Somebody says that something happened to an object. Worth a look, never belief."""

    bucket: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What an authentic envelope held. `malformed` counts records that could not be read."""

    hints: Sequence[Hint]
    malformed: int = 0
    ignored: int = 0


class Door(Protocol):
    @property
    def destinations(self) -> Sequence[str]:
        """The destinations about which this source may speak."""

    def open(self, envelope: Envelope) -> Opened:
        """Authenticates the sender, then reads its records; never raises for a malformed body.

        :raises NotAuthentic:
        """


# --- who follows -----------------------------------------------------------------------------------------


class Trace(Protocol):
    """Where the present work stands in a trace that somebody follows."""

    def here(self) -> str:
        """The W3C traceparent to keep with what comes of it; empty when nobody follows."""


# --- who asks --------------------------------------------------------------------------------------------


class ApiKeys(Protocol):
    async def find(self, key_id: str) -> ApiKey | None:
        """The live key with this public id, as it stands now: a revocation is seen at once.

        :raises LedgerUnavailable:
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """How many turns were given, and how long it is until there is another."""

    count: int
    next_after: timedelta


class Rates(Protocol):
    async def take(self, principal: str, rate: Rate, wanted: int) -> Taken:
        """Takes as many of `wanted` turns as `rate` leaves to `principal`, perhaps none. Exact over all processes.

        :raises LedgerUnavailable:
        """


class Bell(Protocol):
    """Wakes those of this process who wait for work; others find it by looking. Never the only way to hear."""

    def ring(self) -> None: ...

    async def wait(self, timeout: timedelta) -> None:
        """Until the next ring, or `timeout`."""


class Listener(Protocol):
    """Somebody who wants to know what becomes of one session."""

    @property
    def is_over(self) -> bool:
        """It must leave: whoever listens has gone or may not any longer, or this process stops."""

    def leave(self) -> None:
        """Makes it so, and wakes it."""

    async def wait(self, timeout: timedelta) -> bool:
        """True as soon as the session may have moved on or `is_over` changed; False after `timeout`."""


class Listeners(Protocol):
    """Those of this process who listen, told whichever process moved their session on."""

    def listen(self, session_id: str, key_id: str, generation: int) -> AbstractContextManager[Listener]:
        """A listener as long as the context lasts. What happened before it began must be read from the record.

        :param key_id, generation: the API key by whose right it listens; soon after its revocation it must leave.
        :raises Overloaded: this process has as many listeners as it takes.
        """


# --- the ledger ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """Scope and fingerprint of a request that may be sent again."""

    key: str  # hash of principal, route and Idempotency-Key
    body: str  # hash of the canonical body
    keep_for: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """`session` is the one that holds now: the new one, or the one that the same request made before."""

    session: Session
    is_replay: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session that begins, its first look, and how to know the request that asks for it when it is sent again."""

    session: Session
    look_at: datetime
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a principal has pending: sessions, and the bytes that they declared."""

    sessions: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How much a principal may have pending at once; None is without end."""

    sessions: int | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which sessions of one principal; None takes them all."""

    principal: str
    state: State | None = None
    batch: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Between two sessions of a listing: behind the one with this id, created at this millisecond."""

    created_at: datetime
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A piece of a listing. `end` is where the next one begins; None: there is nothing more."""

    sessions: list[Session]
    end: Position | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """An object under a session-shaped key whose session the ledger does not know."""

    destination: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DueLook:
    """One claimed look. `claim` is what the schedule said after claiming; an event that comes meanwhile changes it."""

    id: str
    claim: int
    session: Session | None
    stray: Stray | None = None

    @property
    def destination(self) -> str:
        """Where it leads; empty when neither session nor object is known."""
        if self.session:
            return self.session.facts.destination
        return self.stray.destination if self.stray else ""


class Looking(Protocol):
    """One look at one session, by whoever does it."""

    async def __call__(self, due: DueLook) -> Session | None:
        """The session as it stands afterwards, or None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One transition, as it stands in the stream."""

    cursor: str
    id: str
    state: State
    at: datetime
    epoch: int
    reason: Reason | None = None  # why it ended badly


class Sessions(Protocol):
    """Records, and the one way to change them."""

    async def create(
        self, session: Session, *, look_at: datetime, idempotency: Idempotency | None, quota: Quota | None = None
    ) -> Created:
        """Writes a new pending session, its first look and its event; or finds the one of the same request.

        It counts as pending for its principal until a change settles it. A quota is exact with one shard; with several,
        callers at the same moment may together pass it by what each of them asks for.
        :raises IdempotencyKeyReused: the same key came with another body.
        :raises QuotaExceeded: it would be more than `quota`; what the same request made before is found all the same.
        """

    async def create_many(
        self, items: Sequence[NewSession], *, quota: Quota | None = None
    ) -> list[Created | BrokerError]:
        """The same for many, in order: what `create` would return or raise. No item spoils another.

        The caller guarantees that they have one principal. It takes many steps, each of them atomic.
        """

    async def get(self, session_id: str) -> Session | None: ...

    async def get_many(self, session_ids: Sequence[str]) -> list[Session | None]:
        """In the order asked for."""

    async def apply(self, change: Change) -> bool:
        """Writes record, schedules and event in one atomic step, if the record still has `before`'s revision.

        False when it has not: read again and decide again.
        """


class Listings(Protocol):
    """What a principal has. Sessions that the ledger has forgotten are left out."""

    async def find(self, selection: Selection, *, after: Position | None, limit: int) -> Page:
        """The newest first, by creation and then by id, from `after` on: at most `limit`.

        The work is bounded, so a page may be short or empty and yet not the last. What is created meanwhile belongs
        before the first page and disturbs none.
        """

    async def usage(self, principal: str) -> Usage:
        """What the principal has pending, on all shards."""


class Tombstones(Protocol):
    """What remains of sessions that came to nothing, whether their records live or not."""

    async def find_many(self, session_ids: Sequence[str]) -> list[Tombstone | None]:
        """In the order asked for."""


class Identity(Protocol):
    """Whose ledger this is: one random id, also noted in every destination, so that neither is taken for another."""

    async def store_id(self) -> str | None:
        """None in a ledger that is new, was emptied, or is not the one that was meant."""

    async def claim(self, store_id: str) -> str:
        """Gives the ledger this id, unless it has one. The id that holds."""

    async def adoption_floor(self, destination: str) -> datetime | None:
        """What was minted there up to this moment is not adopted any more, whoever comes upon it; None: nobody said."""

    async def set_adoption_floor(self, destination: str, created_after: datetime) -> None:
        """Whole milliseconds, rounded down."""


class Looks(Protocol):
    """When a session must be looked at next. Events, hints, reconciliation and deadlines are this one schedule."""

    async def hint(self, session_id: str, stray: Stray | None, *, now: datetime) -> bool:
        """Moves the next look to now, because the bucket told. True if that changed the schedule.

        Settled sessions ignore it. An unknown id is scheduled with `stray`, if one is given, so that its capsule can
        be read.
        """

    async def claim(self, limit: int, *, now: datetime, hold: timedelta) -> list[DueLook]:
        """Up to `limit` looks that are due. Each comes back after `hold` unless it is settled or postponed."""

    async def claim_one(self, session_id: str, *, now: datetime, hold: timedelta, every: timedelta) -> DueLook | None:
        """This session's look, whether due or not; None when it was claimed this way less than `every` ago."""

    async def postpone(self, look: DueLook, until: datetime | None) -> None:
        """Puts a claimed look off, or drops it (None); unless an event came since, which then stands."""


class Census(Protocol):
    """Going through everything: for an operator at a shell, never for a request."""

    def in_state(self, state: State) -> AsyncIterator[Session]:
        """Every session that stands in `state`, each once, in no order. What changes meanwhile may be missed."""


class Jobs(Protocol):
    """Verified sessions waiting for a consumer. Visibility is a score: an expired lease is visible by itself."""

    async def lease(self, limit: int, *, worker: str, now: datetime, until: datetime) -> list[Session]:
        """Up to `limit` visible jobs, each with its epoch raised and invisible until `until`."""

    async def renew(self, session_id: str, epoch: int, *, until: datetime) -> Session | None:
        """Keeps the job invisible until `until`. None when `epoch` is not the current lease."""


class Events(Protocol):
    """Every transition, in order per session. Kept for a week, and longer for a reader who is late."""

    def read(self, shard: int, after: str = "0") -> AsyncIterator[Event]:
        """What shard `shard` recorded after cursor `after`, up to now. A cursor is "milliseconds-number"."""

    async def end(self, shard: int) -> str:
        """The cursor after which there is nothing yet: what is read after it came later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """What is wrong with the ledger now, and what will be wrong if nobody acts: one sentence each."""

    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How much waits in the ledger, over all shards."""

    looks: int  # scheduled, whether due or not
    looks_due: int
    oldest_look: datetime | None  # since when the oldest is due
    jobs_visible: int
    oldest_job: datetime | None  # since when the oldest is visible
    jobs_hidden: int  # leased, or put off for another try
    events: int


class Schedule(Protocol):
    """How much is waiting: for readiness, idle waits and people."""

    async def backlog(self, *, now: datetime) -> Backlog:
        """
        :raises LedgerUnavailable:
        """

    async def next_due(self) -> datetime | None:
        """The earliest scheduled look of any shard."""

    async def check(self) -> Checkup:
        """How the ledger is at this moment. Never raises."""


class Ledger(Sessions, Listings, Census, Looks, Jobs, Events, Schedule, Protocol):
    """All rights at once. `shards` is how many the ids are spread over."""

    @property
    def shards(self) -> int: ...


# --- webhooks --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The first thing that one webhook must still be told of one session, claimed until `until`."""

    webhook: str
    id: str
    cursor: str
    attempt: int  # this one; the first is 1
    since: datetime  # when it happened, or was asked for again
    until: datetime
    event: Event | None  # None: trimmed since
    session: Session | None  # as it stands now; None: forgotten since


class Outbox(Protocol):
    """How far a webhook has been told, and what it must still be told, in order per session."""

    async def cursor(self, shard: int, webhook: str) -> str:
        """Where the next page begins. A webhook without a cursor gets one: the end of the stream."""

    async def fan_out(
        self, shard: int, webhook: str, events: Sequence[Event], *, after: str, to: str, now: datetime
    ) -> bool:
        """Moves the cursor from `after` to `to` and remembers `events`, in one atomic step.

        False when the cursor stands elsewhere: another relay has done it.
        """


class Deliveries(Protocol):
    """What is due to be told. A claim that is not settled comes back: at least once."""

    async def claim(self, webhook: str, limit: int, *, now: datetime, hold: timedelta) -> list[Delivery]:
        """Up to `limit` that are due, of each session only the first, so that order holds."""

    async def settle(self, delivery: Delivery, attempt: Attempt, *, again_at: datetime | None) -> bool:
        """Writes the log, and tries again at `again_at`, or drops it (None). True when the session's next is due now.

        A failure is heard only from who claimed it last; that it need not be told again is heard from anybody.
        """


class DeliveryLog(Protocol):
    """For people: what was told, and telling it again."""

    async def attempts(self, webhook: str) -> list[Attempt]:
        """The newest ten thousand or so, oldest first."""

    async def replay(self, shard: int, webhook: str, events: Sequence[Event], *, now: datetime) -> int:
        """Remembers `events` as if they had happened now, each in its place; what waits already is due at once.

        How many were not waiting.
        """

    async def waiting(self) -> dict[str, int]:
        """Of how many sessions each webhook must still be told, by name: all that the ledger has heard of."""

    async def forget(self, webhook: str) -> bool:
        """Its cursor, all that it must still be told, and its log. False when there was nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one POST: a status, or the class of the trouble that came instead."""

    status: int | None = None
    error: str | None = None
    retry_after: timedelta | None = None


class Sender(Protocol):
    """The way to one receiver."""

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Sends once and follows nothing. Never raises: no answer is an answer."""
