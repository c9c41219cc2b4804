"""The fan-out: what its copies make of the session that they serve, as pure functions from both to a `Change`.

The state of a fan-out follows from its copies and its deadline alone: verified as soon as enough copies are – in
whichever order they come, however often each is told –, expired when its time is over before. A copy that ends badly
changes nothing but what is said of it: it can be minted again, alone. What a copy's session becomes and what that
makes of the fan-out are written in one atomic step, so that no two stories are ever told.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from broker.contract import Guarantees, Reason, State
from broker.domain.copies import Copy
from broker.domain.errors import ObjectErased, SessionNotVerified, SessionSettled
from broker.domain.keys import object_key
from broker.domain.multipart import Multipart
from broker.domain.policy import Destination, Policy, grace
from broker.domain.sessions import (
    FOREIGN_OBJECT,
    Change,
    Facts,
    Session,
    abort,
    begin,
    counted,
    erase,
    moved,
    revised,
    tombstone_of,
)

COPIES_MISSING = "copies-missing"
COPY_LOST = "copy-lost"
MAX_COPIED_METADATA = 512  # ours: no capsule holds more

Required = Literal["all"] | int  # how many copies must be verified before there is a job


def enough(required: Required, copies: int) -> int:
    """How many of so many: a number that is not reached by all of them means all."""
    return copies if required == "all" else min(required, copies)


def begin_copy(
    session: Session,
    copy_id: str,
    place: Destination,
    *,
    multipart: Multipart | None,
    guarantees: Guarantees,
    now: datetime,
    expires_at: datetime,
) -> Session:
    """A fresh session, on the same shard, that serves `session` at `place`."""
    of = session.facts
    facts = Facts(
        principal=of.principal,
        destination=place.name,
        bucket=place.bucket,
        key=object_key(place.prefix, copy_id, of.spec.filename),
        spec=of.spec,
        guarantees=guarantees,
        created_at=now,
        expires_at=expires_at,
        requests_end_at=min(now + place.policy.url_ttl, expires_at),
        # For its capsule, which has no room for more.
        metadata=of.metadata if len(str(of.metadata)) <= MAX_COPIED_METADATA else {},
        owner=of.owner,
        batch=of.batch,
        multipart=multipart,
        traceparent=of.traceparent,
        required=of.required,
        copy_of=session.id,
        destinations=of.destinations,
    )
    return begin(copy_id, facts, now)


def begin_fan_out(session: Session, copies: Iterable[Session]) -> Session:
    """A fresh session that is served by fresh copies; until one is verified it looks like the first."""
    copies = tuple(copies)
    facts = msgspec.structs.replace(
        session.facts,
        copies=tuple(map(note_of, copies)),
        key=copies[0].facts.key,
        requests_end_at=max(copy.facts.requests_end_at for copy in copies),
    )
    return msgspec.structs.replace(session, facts=facts)


def rebuilt(copy: Session) -> Session:
    """The fan-out that a copy tells of, after the ledger lost it. Of the others nobody knows yet more than where."""
    of = copy.facts
    others = [lost(name, of.guarantees) for name in of.destinations if name != of.destination]
    facts = Facts(
        principal=of.principal,
        destination=of.destination,
        bucket=of.bucket,
        key=of.key,
        spec=of.spec,
        guarantees=of.guarantees,
        created_at=of.created_at,
        expires_at=of.expires_at,
        requests_end_at=of.requests_end_at,
        metadata=of.metadata,
        owner=of.owner,
        batch=of.batch,
        copies=tuple(sorted([note_of(copy), *others], key=_place_in(of.destinations))),
        required=of.required,
        destinations=of.destinations,
    )
    return begin(of.copy_of, facts, of.created_at)


def taken_in(session: Session, copy: Session) -> Change | None:
    """A copy that the ledger had lost serves its fan-out again. None: nobody waits for it, or another does."""
    try:
        need_wanted(session)
    except (SessionSettled, ObjectErased):
        return None
    noted = copy_in(session, copy.facts.destination)
    if noted is None:
        after = revised(session, copies=(*session.facts.copies, note_of(copy)))
        return Change(before=session, after=after, stays=True)
    if noted.state is State.VERIFIED or (noted.state is State.PENDING and noted.id != copy.id):
        return None
    return replaced(session, noted, copy)


def lost(destination: str, guarantees: Guarantees) -> Copy:
    """A copy of which only its destination is known. It can be minted again like any that came to nothing."""
    reason = Reason(code=COPY_LOST, message="the broker lost this copy, and has not found it again")
    return Copy(
        id="", destination=destination, bucket="", key="", guarantees=guarantees, state=State.EXPIRED, reason=reason
    )


def note_of(copy: Session) -> Copy:
    """What its fan-out says of a copy."""
    facts = copy.facts
    return Copy(
        id=copy.id,
        destination=facts.destination,
        bucket=facts.bucket,
        key=facts.key,
        guarantees=facts.guarantees,
        state=copy.state,
        stored=facts.stored,
        reason=facts.reason,
    )


def copy_in(session: Session, destination: str) -> Copy | None:
    """Of a fan-out the copy there."""
    return next((copy for copy in session.facts.copies if copy.destination == destination), None)


def readable(session: Session) -> tuple[Copy, ...]:
    """Where the bytes of a verified session can be read, the first choice first: one place, or each verified copy."""
    facts = session.facts
    if facts.copies:
        return tuple(copy for copy in facts.copies if copy.state is State.VERIFIED)
    return () if facts.stored is None else (note_of(session),)


def destinations_of(session: Session) -> tuple[str, ...]:
    """Where its bytes go."""
    return tuple(copy.destination for copy in session.facts.copies) or (session.facts.destination,)


def derived(session: Session, copy: Session, place: Destination, now: datetime) -> Change | None:
    """What has become of a fan-out now that one of its copies stands like this; None: nothing.

    :param place: the copy's. All destinations of a fan-out agree on whether there is a job.
    """
    copies = _with(session.facts.copies, copy)
    if copies == session.facts.copies:  # or it is none of them any more
        return None
    verified = [each for each in copies if each.state is State.VERIFIED]
    is_open = session.state in {State.PENDING, State.EXPIRED} and session.facts.erased_at is None
    if not is_open or len(verified) < session.facts.required:
        return Change(before=session, after=revised(session, copies=copies), stays=True)
    return _verified(session, copies, verified[0], place, now, is_heard=copy.progress.is_heard)


def lapse(session: Session, policy: Policy, now: datetime) -> Change:
    """Its deadline and grace are over, and too few copies are there. One that comes late may still make it whole.

    :raises SessionSettled: it is not pending any more.
    """
    missing = [copy.destination for copy in session.facts.copies if copy.state is not State.VERIFIED]
    there = len(session.facts.copies) - len(missing)
    message = f"{there} of {session.facts.required} copies were there in time; missing: {', '.join(missing)}"
    after = moved(session, State.EXPIRED, now, reason=Reason(code=COPIES_MISSING, message=message))
    return Change(before=session, after=after, keep_for=policy.retention, tombstone=tombstone_of(after, policy))


def ends_at(session: Session, places: Iterable[Destination]) -> datetime:
    """From when on it is not waited for any more: its deadline, and the longest that a last PUT may take."""
    size = session.facts.spec.size_bytes
    return session.facts.expires_at + max(grace(place.policy, size) for place in places)


def replaced(session: Session, copy: Copy, fresh: Session) -> Change:
    """Another session serves as this copy now.

    :raises SessionSettled, ObjectErased: nobody waits for copies any more.
    """
    need_wanted(session)
    copies = tuple(note_of(fresh) if each == copy else each for each in session.facts.copies)
    return Change(before=session, after=revised(session, copies=copies), stays=True)


def need_wanted(session: Session) -> None:
    """Copies may be minted again as long as their bytes are of use, also when the fan-out is settled.

    :raises ObjectErased: its owner erased it.
    :raises SessionSettled: he gave it up, or its consumer rejected it.
    """
    if session.facts.erased_at is not None:
        raise ObjectErased
    if session.state in {State.ABORTED, State.REJECTED}:
        raise SessionSettled


def give_up(copy: Session, place: Destination, now: datetime) -> Change | None:
    """What becomes of a copy that nobody wants any more: its bytes go, and what still comes goes, too.

    None: it came to nothing before.
    """
    if copy.state in {State.PENDING, State.EXPIRED, State.VERIFIED} and copy.facts.erased_at is None:
        return abort(copy, place, now)
    return None


def erase_copy(copy: Session, place: Destination, now: datetime) -> Change | None:
    """The same for one whose owner wants all bytes gone at once; None: there is nothing to do."""
    if copy.state in {State.PENDING, State.EXPIRED}:
        return abort(copy, place, now)
    try:
        return erase(copy, place, now)
    except (SessionSettled, ObjectErased):
        return None


def abort_all(session: Session, copies: Sequence[Session], place: Destination, now: datetime) -> Change:
    """Its owner gave the fan-out up. `copies` are those that end with it, as they are then.

    :raises SessionSettled: it is not pending any more.
    """
    change = abort(session, place, now)
    after = _noting(change.after, copies)
    # There is nothing of its own to look after.
    return msgspec.structs.replace(change, after=after, look_at=None)


def erase_all(session: Session, copies: Sequence[Session], place: Destination, now: datetime) -> Change:
    """Its owner wants the bytes of all copies gone; for the rest as `sessions.erase`.

    :raises SessionNotVerified: it is pending; that is aborted.
    :raises SessionSettled: nothing was stored, or by somebody else.
    :raises ObjectErased: it was before.
    """
    if session.state is State.PENDING:
        raise SessionNotVerified("a pending upload is aborted, not erased")
    if not any(is_stored(copy) for copy in session.facts.copies):
        raise SessionSettled("there is no object of this session to erase")
    if session.facts.stored is not None:
        change = erase(session, place, now)
    elif session.facts.erased_at is not None:
        raise ObjectErased
    else:  # too few came, but some did
        after = revised(session, erased_at=now)
        change = Change(before=session, after=after, look_at=now, tombstone=tombstone_of(after, place.policy))
    return msgspec.structs.replace(change, after=_noting(change.after, copies))


def is_stored(copy: Copy) -> bool:
    """Whether bytes of ours lie there, as far as the record tells."""
    return copy.stored is not None and not (copy.reason and copy.reason.code == FOREIGN_OBJECT)


def given_up(session: Session, copies: Sequence[Session], policy: Policy) -> Change:
    """Its consumer rejected it, and its copies have ended with it: nobody needs to look again."""
    after = _noting(revised(session, is_removed=True), copies)
    return Change(before=session, after=after, keep_for=policy.retention, tombstone=tombstone_of(after, policy))


def _verified(
    session: Session, copies: tuple[Copy, ...], first: Copy, place: Destination, now: datetime, *, is_heard: bool
) -> Change:
    """From now on the session looks like its first verified copy to whoever knows nothing of copies."""
    after = moved(
        session,
        State.VERIFIED,
        now,
        copies=copies,
        destination=first.destination,
        bucket=first.bucket,
        key=first.key,
        guarantees=first.guarantees,
        stored=first.stored,
        reason=None,
    )
    has_job = place.processing != "none"
    return Change(
        before=session,
        after=counted(after, is_heard=is_heard),
        job_at=now if has_job else None,
        keep_for=None if has_job else place.policy.retention,
    )


def _noting(session: Session, copies: Sequence[Session]) -> Session:
    noted = session.facts.copies
    for copy in copies:
        noted = _with(noted, copy)
    return msgspec.structs.replace(session, facts=msgspec.structs.replace(session.facts, copies=noted))


def _with(copies: tuple[Copy, ...], copy: Session) -> tuple[Copy, ...]:
    return tuple(note_of(copy) if each.id == copy.id else each for each in copies)


def _place_in(destinations: Sequence[str]) -> Callable[[Copy], int]:
    return lambda copy: destinations.index(copy.destination) if copy.destination in destinations else 0
