"""The upload session: its state table as data, and every transition as a pure function from a session to a `Change`.

A `Change` is what the ledger writes in one atomic step: the record after it, and where the session then stands in the
two schedules – when somebody must look at it, and from when its job is visible. Nothing can become visible apart from
settling, because both are the same value.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from broker.contract import Attempts, Guarantees, Reason, State, Step, StoredObject
from broker.domain.copies import Copy
from broker.domain.errors import ObjectErased, SessionNotVerified, SessionSettled
from broker.domain.multipart import Multipart
from broker.domain.objects import ObjectInfo, UploadSpec, stored_object
from broker.domain.policy import Destination, Policy, grace
from broker.domain.resumable import Resumable
from broker.domain.tombstones import BURIED, Tombstone

TRANSITIONS: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.VERIFIED, State.REJECTED, State.EXPIRED, State.ABORTED}),
    # Bytes that arrived late on a URL given in time; or a copy that nobody waits for any more.
    State.EXPIRED: frozenset({State.VERIFIED, State.ABORTED}),
    # Failed: its object is gone. Aborted: a copy whose bytes nobody wants any more.
    State.VERIFIED: frozenset({State.PROCESSING, State.FAILED, State.ABORTED}),
    State.PROCESSING: frozenset(  # itself: a higher epoch
        {State.PROCESSING, State.VERIFIED, State.PROCESSED, State.FAILED, State.REJECTED}
    ),
    State.FAILED: frozenset({State.VERIFIED}),  # an operator's `jobs retry`
    State.PROCESSED: frozenset(),
    State.REJECTED: frozenset(),
    State.ABORTED: frozenset(),
}

LOOKED_AT = frozenset({State.PENDING, State.EXPIRED, State.REJECTED, State.ABORTED})  # where an event means "look"
READABLE = frozenset({State.VERIFIED, State.PROCESSING, State.PROCESSED, State.FAILED})
ENDED_BADLY = frozenset({State.FAILED, State.REJECTED, State.EXPIRED, State.ABORTED})
LEASABLE = frozenset(state for state, to in TRANSITIONS.items() if State.PROCESSING in to)
ENDINGS = frozenset({State.PROCESSED, State.FAILED, State.REJECTED, State.EXPIRED, State.ABORTED})

FOREIGN_OBJECT = "foreign-object"  # bytes that did not come by our signed request: not ours to delete
OBJECT_MISSING = "object-missing"  # why a job failed that nobody can do; a consumer says it with the same word
ERASED = "erased"  # why a job failed whose object its owner erased

GONE = "the object is gone from the store"

MAX_STEPS = 32  # ours: a timeline longer than this drops its middle, so a record stays bounded


class Progress(Struct, frozen=True, kw_only=True):
    """The part of a record that a lease changes in bulk, kept apart so that a script can rewrite it in place.

    `revision` grows with every change and is what a writer compares; `epoch` grows with every lease and fences it.
    `is_heard` says that the bucket told of the object: a verified session without it was found by looking.
    """

    state: State = State.PENDING
    revision: int = 0
    epoch: int = 0
    failures: int = 0
    lost_leases: int = 0
    infrastructure: int = 0
    changed_at: datetime
    is_heard: bool = False


class Facts(Struct, frozen=True, kw_only=True, array_like=True):
    """The part of a record that only the domain changes. Append fields with defaults; never reorder them."""

    principal: str
    destination: str
    bucket: str
    key: str
    spec: UploadSpec
    guarantees: Guarantees
    created_at: datetime
    expires_at: datetime
    requests_end_at: datetime
    metadata: dict[str, str] = {}
    owner: str | None = None
    batch: str | None = None
    stored: StoredObject | None = None
    reason: Reason | None = None
    result: bytes = b""
    steps: tuple[Step, ...] = ()
    is_removed: bool = False
    multipart: Multipart | None = None
    completing_until: datetime | None = None
    traceparent: str = ""  # W3C Trace Context, section 3.2: of the request that minted it, carried to its consumer
    erased_at: datetime | None = None
    copies: tuple[Copy, ...] = ()  # of a fan-out
    required: int = 0  # of a fan-out, and in each of its copies: how many must be verified
    copy_of: str = ""  # the fan-out that this session serves as a copy
    destinations: tuple[str, ...] = ()  # in a copy: of the whole fan-out
    gone_at: datetime | None = None  # when a look found that what was verified is not there any more
    resumable: Resumable | None = None


class Session(Struct, frozen=True, kw_only=True):
    """One upload session. Its job, if it gets one, has the same id."""

    id: str
    progress: Progress
    facts: Facts

    @property
    def state(self) -> State:
        return self.progress.state

    @property
    def timeline(self) -> list[Step]:
        """Every recorded step; and the present one, which a lease does not record."""
        steps, now = [*self.facts.steps], self.progress
        if not steps or (steps[-1].state, steps[-1].epoch) != (now.state, now.epoch):
            steps.append(Step(state=now.state, at=now.changed_at, epoch=now.epoch))
        return steps

    @property
    def history(self) -> list[Step]:
        """The timeline as people read it: with what befell the object, which is no step of the session."""
        steps, gone_at = self.timeline, self.facts.gone_at
        if gone_at is None:
            return steps
        place = max((number for number, step in enumerate(steps, 1) if step.at <= gone_at), default=len(steps))
        beside = steps[place - 1]
        return [*steps[:place], Step(state=beside.state, at=gone_at, epoch=beside.epoch, note=GONE), *steps[place:]]

    @property
    def attempts(self) -> Attempts:
        at = self.progress
        return Attempts(
            leases=at.epoch,
            failures=at.failures,
            lost_leases=at.lost_leases,
            infrastructure=at.infrastructure,
        )


class Change(Struct, frozen=True, kw_only=True):
    """One atomic step of the ledger. `look_at` and `job_at` are where the session stands afterwards, or nowhere."""

    before: Session
    after: Session
    look_at: datetime | None = None
    job_at: datetime | None = None
    keep_for: timedelta | None = None  # a terminal record is forgotten after this long; None: kept
    tombstone: Tombstone | None = None  # outlives the record
    stays: bool = False  # look, job, tombstone and end are what they were; only the job's queue may be another

    @property
    def is_transition(self) -> bool:
        """A fresh URL or a removal is not a new state."""
        return self.before.progress.changed_at != self.after.progress.changed_at

    @property
    def is_told(self) -> bool:
        """Whether an event is due. Of copies nobody hears but through the session that they serve."""
        return self.is_transition and not self.after.facts.copy_of

    @property
    def reason(self) -> Reason | None:
        """Why it ended like this. A record may forget it: a failed session is tried again, an expired one verified."""
        return self.after.facts.reason if self.is_told and self.after.state in ENDED_BADLY else None

    @property
    def is_settling(self) -> bool:
        """Whether it stops being pending: what it reserved is free again. A copy reserves nothing of its own."""
        is_over = self.before.state is State.PENDING and self.after.state is not State.PENDING
        return is_over and not self.after.facts.copy_of


def verify(session: Session, info: ObjectInfo, destination: Destination, now: datetime) -> Change:
    """The object is what was declared: settle, and make the job visible. A copy has none: its fan-out has.

    :raises SessionSettled: nobody waits for its bytes any more.
    """
    _need(session, State.PENDING, State.EXPIRED)
    after = moved(session, State.VERIFIED, now, stored=stored_object(info), reason=None)
    has_job = destination.processing != "none" and not session.facts.copy_of
    return Change(
        before=session,
        after=after,
        job_at=now if has_job else None,
        keep_for=None if has_job else destination.policy.retention,
    )


def reject(session: Session, info: ObjectInfo, reason: Reason, destination: Destination, now: datetime) -> Change:
    """The stored bytes are not what was declared. They are removed once no late request can replace them.

    :raises SessionSettled: it is not pending any more.
    """
    _need(session, State.PENDING)
    after = moved(session, State.REJECTED, now, stored=stored_object(info), reason=reason)
    is_deleted = destination.on_reject == "delete" and reason.code != FOREIGN_OBJECT
    return Change(
        before=session,
        after=after,
        look_at=cleared_at(session, destination.policy, now) if is_deleted or session.facts.resumable else None,
        keep_for=destination.policy.retention,
        tombstone=tombstone_of(after, destination.policy),
    )


def expire(session: Session, destination: Destination, now: datetime) -> Change:
    """The deadline passed, its grace too, and HEAD found nothing.

    :raises SessionSettled: it is not pending any more.
    """
    reason = Reason(code="deadline", message="nothing arrived in time")
    after = moved(session, State.EXPIRED, now, reason=reason, requests_end_at=_cleared_from(session, now))
    return Change(
        before=session,
        after=after,
        look_at=now if session.facts.multipart else None,  # its parts must go
        keep_for=destination.policy.retention,
        tombstone=tombstone_of(after, destination.policy),
    )


def abort(session: Session, destination: Destination, now: datetime) -> Change:
    """Its owner gave it up. A signed request cannot be revoked, so we look once more when it has ended.

    A copy is given up with its fan-out even where it had expired or was verified.
    :raises SessionSettled: it is not pending any more.
    """
    _need(session, State.PENDING, *([State.EXPIRED, State.VERIFIED] if session.facts.copy_of else []))
    reason = Reason(code="aborted", message="aborted by its owner")
    after = moved(session, State.ABORTED, now, reason=reason, requests_end_at=_cleared_from(session, now))
    return Change(
        before=session,
        after=after,
        look_at=now if session.facts.multipart else cleared_at(session, destination.policy, now),
        keep_for=destination.policy.retention,
        tombstone=tombstone_of(after, destination.policy),
    )


def remint(session: Session, requests_end_at: datetime, look_at: datetime) -> Change:
    """Fresh signed requests for the same object; the session stays as it is.

    :raises SessionSettled: it is not pending any more.
    """
    _need(session, State.PENDING)
    end = max(session.facts.requests_end_at, requests_end_at)
    return Change(before=session, after=revised(session, requests_end_at=end), look_at=look_at)


def opened(session: Session, upload_id: str, look_at: datetime) -> Change:
    """The store has begun the multipart upload that the session reserved.

    :raises SessionSettled: it is not pending any more; the upload must go.
    """
    if session.state is not State.PENDING or session.facts.multipart is None:
        raise SessionSettled
    multipart = msgspec.structs.replace(session.facts.multipart, upload_id=upload_id)
    return Change(before=session, after=revised(session, multipart=multipart), look_at=look_at)


def completing(session: Session, until: datetime) -> Change:
    """One holder puts the parts together; until then nobody else does, and an abort waits.

    :raises SessionSettled: it is not pending any more.
    """
    if session.state is not State.PENDING:
        raise SessionSettled
    return Change(before=session, after=revised(session, completing_until=until), look_at=until)


def is_completing(session: Session, now: datetime) -> bool:
    until = session.facts.completing_until
    return session.state is State.PENDING and until is not None and now < until


def removed(session: Session, destination: Destination) -> Change:
    """The bytes of a rejected, aborted or unwelcome late session are gone; nobody needs to look again."""
    after, policy = revised(session, is_removed=True), destination.policy
    return Change(before=session, after=after, keep_for=policy.retention, tombstone=tombstone_of(after, policy))


def erase(session: Session, destination: Destination, now: datetime) -> Change:
    """Its owner wants the bytes gone: nobody reads them any more, and a look removes them, however often it takes.

    A job that waits or is under way has failed, and its consumer has lost its lease. What has ended stays as it ended.
    The record is kept until the bytes are gone.
    :raises SessionNotVerified: it is pending; that is aborted.
    :raises SessionSettled: nothing was stored, or by somebody else.
    :raises ObjectErased: it was before.
    """
    facts = session.facts
    if facts.erased_at is not None:
        raise ObjectErased
    if session.state is State.PENDING:
        raise SessionNotVerified("a pending upload is aborted, not erased")
    if facts.stored is None or (facts.reason and facts.reason.code == FOREIGN_OBJECT):
        raise SessionSettled("there is no object of this session to erase")
    if session.state in LEASABLE and destination.processing != "none" and not facts.copy_of:
        reason = Reason(code=ERASED, message="its owner erased the object")
        after = moved(session, State.FAILED, now, reason=reason, erased_at=now)
    else:
        after = revised(session, erased_at=now)
    return Change(before=session, after=after, look_at=now, tombstone=tombstone_of(after, destination.policy))


def erased(session: Session, destination: Destination, now: datetime) -> Change:
    """The bytes of an erased session are gone. A look follows where a signed request could still bring them again."""
    after, quiet = revised(session, is_removed=True), quiet_at(session, destination.policy, now)
    return Change(
        before=session,
        after=after,
        look_at=cleared_at(session, destination.policy, now) if now < quiet else None,
        keep_for=None if now < quiet else destination.policy.retention,
        tombstone=tombstone_of(after, destination.policy),
    )


def missing(session: Session, destination: Destination, now: datetime) -> Change | None:
    """What was verified is not there any more, and it was not us who removed it. None: that is known already.

    A job that nobody holds has failed, and so has a copy, which can be minted again. Who holds a job is left to finish,
    for he may have read it all; what has ended stays as it ended: there it is a line of the history, once.
    """
    facts = session.facts
    if session.state is State.VERIFIED and (destination.processing != "none" or facts.copy_of):
        after = moved(session, State.FAILED, now, reason=Reason(code=OBJECT_MISSING, message=GONE))
        return Change(before=session, after=after, keep_for=destination.policy.retention)
    is_told = session.state is State.FAILED and facts.reason is not None and facts.reason.code == OBJECT_MISSING
    if is_told or facts.gone_at is not None:
        return None
    after = revised(session, gone_at=max(now, session.progress.changed_at))
    return Change(before=session, after=after, stays=True)


def is_cut_short(session: Session) -> bool:
    """Whether it failed because its object was erased, and not by a consumer's word."""
    facts = session.facts
    return facts.erased_at is not None and facts.reason is not None and facts.reason.code == ERASED


def is_final(state: State, destination: Destination | None) -> bool:
    """Whether nothing more is expected to happen; late bytes and an operator's retry may prove it wrong.

    :param destination: None where it is not configured here.
    """
    has_job = destination is None or destination.processing != "none"
    return state in ENDINGS or (state is State.VERIFIED and not has_job)


def _cleared_from(session: Session, now: datetime) -> datetime:
    """A reserved upload may be begun at this very moment by somebody who then dies: one more look, a grace later."""
    multipart, end = session.facts.multipart, session.facts.requests_end_at
    return max(end, now) if multipart and not multipart.upload_id else end


def _need(session: Session, *states: State) -> None:
    """Two ways lead to verified, and to rejected: the table alone does not tell a look from a consumer's report."""
    if session.state not in states:
        raise SessionSettled


def ends_at(session: Session, policy: Policy) -> datetime:
    """Until when a pending session waits for its bytes."""
    return session.facts.expires_at + _landing(session, policy)


def quiet_at(session: Session, policy: Policy, now: datetime) -> datetime:
    """From when no signed request of this session can still put bytes under its key; not before `now`."""
    return max(now, session.facts.requests_end_at + _landing(session, policy))


def cleared_at(session: Session, policy: Policy, now: datetime) -> datetime:
    """From when what nobody wants can be cleared away: when it is quiet, or at once where a look can make it so."""
    return now if session.facts.resumable else quiet_at(session, policy, now)


def _landing(session: Session, policy: Policy) -> timedelta:
    """How long after its last signed request has ended bytes may still land. What is cancelled lands no more."""
    return timedelta(0) if session.facts.resumable else grace(policy, in_flight_bytes(session))


def tombstone_of(session: Session, policy: Policy) -> Tombstone | None:
    """What will remain of a session that came to nothing, or was erased: given up by its owner, whatever it came to."""
    is_erased = session.facts.erased_at is not None
    if session.state not in BURIED and not is_erased:
        return None
    state = State.ABORTED if is_erased else session.state
    return Tombstone(state=state, quiet_at=quiet_at(session, policy, now=session.facts.requests_end_at))


def in_flight_bytes(session: Session) -> int:
    """What may still be under way when the last signed request has ended: the object, or one part of it."""
    size = session.facts.spec.size_bytes
    return min(size, session.facts.multipart.part_size_bytes) if session.facts.multipart else size


def moved(session: Session, to: State, now: datetime, **facts: Any) -> Session:
    """In its next state, if the table permits it. `facts` are what changes beside.

    :raises SessionSettled:
    """
    if to not in TRANSITIONS[session.state]:
        raise SessionSettled
    # A clock that stands still or steps back must not hide a transition.
    at = max(now, session.progress.changed_at + timedelta(milliseconds=1))
    steps = [*session.timeline, Step(state=to, at=at, epoch=session.progress.epoch)]
    if len(steps) > MAX_STEPS:
        steps = [*steps[: MAX_STEPS // 2], *steps[-MAX_STEPS // 2 :]]
    return counted(revised(session, steps=tuple(steps), **facts), state=to, changed_at=at)


def revised(session: Session, **facts: Any) -> Session:
    """In the same state at its next revision."""
    return msgspec.structs.replace(
        session,
        progress=msgspec.structs.replace(session.progress, revision=session.progress.revision + 1),
        facts=msgspec.structs.replace(session.facts, **facts),
    )


def counted(session: Session, **progress: Any) -> Session:
    return msgspec.structs.replace(session, progress=msgspec.structs.replace(session.progress, **progress))


def begin(session_id: str, facts: Facts, now: datetime) -> Session:
    """A fresh pending session."""
    return Session(id=session_id, progress=Progress(changed_at=now), facts=facts)
