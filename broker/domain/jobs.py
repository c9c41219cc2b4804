"""The job of a session: what consumers, and an operator, make of it. Its state table stands in `sessions`."""

from datetime import datetime, timedelta
from typing import Any, Literal

from broker.contract import Reason, State
from broker.domain.errors import LeaseLost, ObjectErased, SessionSettled
from broker.domain.policy import Policy, retry_delay
from broker.domain.sessions import Change, Session, cleared_at, counted, moved, tombstone_of

Outcome = Literal[State.PROCESSED, State.FAILED, State.REJECTED]  # a consumer's last word


def finish(session: Session, outcome: Outcome, now: datetime, policy: Policy, **outcome_facts: Any) -> Change:
    """A consumer's accepted last word: processed, failed or rejected. Rejected bytes are looked at for removal.

    :raises LeaseLost: nobody works on it.
    """
    _need_processing(session)
    after = moved(session, outcome, now, **outcome_facts)
    look_at = cleared_at(session, policy, now) if outcome is State.REJECTED else None
    tombstone = tombstone_of(after, policy)
    return Change(before=session, after=after, look_at=look_at, keep_for=policy.retention, tombstone=tombstone)


def retry(session: Session, reason: Reason | None, now: datetime, policy: Policy, delay: timedelta | None) -> Change:
    """A failed attempt: visible again later, or dead after `policy.max_failures` of them.

    :param delay: what the processor asked for, or None for the policy's doubling one.
    """
    _need_processing(session)
    failures = session.progress.failures + 1
    if failures >= policy.max_failures:
        after = counted(moved(session, State.FAILED, now, reason=reason), failures=failures)
        return Change(before=session, after=after, keep_for=policy.retention)
    after = counted(moved(session, State.VERIFIED, now, reason=reason), failures=failures)
    return Change(
        before=session,
        after=after,
        look_at=None if session.facts.gone_at is None else now,
        job_at=now + (retry_delay(policy, failures) if delay is None else delay),
    )


def revive(session: Session, now: datetime) -> Change:
    """An operator gives a failed job another chance: visible at once, and what it is judged by counts from nothing.

    :raises ObjectErased: there is nothing left to process.
    :raises SessionSettled: it has not failed.
    """
    if session.facts.erased_at is not None:
        raise ObjectErased
    if session.state is not State.FAILED:
        raise SessionSettled("it has not failed")
    after = moved(session, State.VERIFIED, now, reason=None, result=b"")
    return Change(before=session, after=counted(after, failures=0, infrastructure=0), job_at=now)


def release(session: Session, now: datetime, policy: Policy, *, is_infrastructure: bool) -> Change:
    """The worker gives the job back unharmed: at once when it drains, backed off when the store is in trouble.

    In trouble somebody looks, too: where a store says "forbidden" of what is not there, no worker could tell.
    """
    _need_processing(session)
    after = moved(session, State.VERIFIED, now)
    if not is_infrastructure:
        return Change(before=session, after=after, look_at=None if session.facts.gone_at is None else now, job_at=now)
    troubles = session.progress.infrastructure + 1
    return Change(
        before=session,
        after=counted(after, infrastructure=troubles),
        look_at=now,
        job_at=now + retry_delay(policy, troubles),
    )


def is_leased(session: Session, epoch: int) -> bool:
    """Whether its lease of this epoch is the current one."""
    return session.state is State.PROCESSING and session.progress.epoch == epoch


def leased_at(session: Session, epoch: int) -> datetime | None:
    """When its lease of this epoch began; a change writes the lease that it ends into the steps."""
    begun = (step.at for step in reversed(session.timeline) if (step.state, step.epoch) == (State.PROCESSING, epoch))
    return next(begun, None)


def has_taken_over(session: Session) -> bool:
    """Whether a lease ran out before the present one: whoever ends his lease himself leaves a step of its epoch."""
    return bool(session.facts.steps) and session.progress.epoch - session.facts.steps[-1].epoch > 1


def _need_processing(session: Session) -> None:
    if session.state is not State.PROCESSING:
        raise LeaseLost
