"""Finish: of two workers that believe they own a job, only the one with the highest epoch is heard."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from broker.contract import MAX_RESULT_BYTES, Reason, ResultRequest, State
from broker.domain.errors import LeaseLost, ResultTooLarge
from broker.domain.jobs import Outcome, finish, leased_at, release, retry
from broker.domain.policy import Policy
from broker.domain.queues import Zones, held_in, is_within
from broker.domain.sessions import Change, Session, is_cut_short
from broker.domain.tokens import Tokens
from broker.ports import Bell, Buckets, Clock, Sessions

_log = logging.getLogger("broker.jobs")
_TRIES = 5
_MAX_CODE = 64  # ours: what a consumer says stays in the record and in every answer about it
_MAX_MESSAGE = 1_024

Decide = Callable[[Session, datetime, Policy], Change]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndLease:
    """What result and release share: the fence, and a compare-and-set that a renewal cannot disturb."""

    buckets: Buckets
    sessions: Sessions
    tokens: Tokens
    clock: Clock
    work: Bell

    async def __call__(
        self, job_id: str, *, token: str, epoch: int, zones: Zones, decide: Decide, ends: frozenset[State]
    ) -> Session:
        """Idempotent: who ended this very lease like this before, and did not hear it, is told how things stand.

        :param zones: the caller's, as they are now.
        :param ends: where `decide` leads.
        :raises LeaseLost: the token is not of this job and epoch, a higher epoch exists, the lease ended otherwise, or
            the job is none of `zones`.
        """
        begun = self.tokens.opens_lease(token, job_id, epoch)
        if begun is None:
            raise LeaseLost
        for _ in range(_TRIES):
            session = await self.sessions.get(job_id)
            # The moment too: a ledger that lost its last second, or everything, gives the same epoch once more.
            if session is None or session.progress.epoch != epoch or leased_at(session, epoch) != begun:
                raise LeaseLost
            if not is_within(held_in(session), zones):
                raise LeaseLost
            if session.state in ends and not is_cut_short(session):
                return session
            bucket = self.buckets.get(session.facts.destination)
            policy = bucket.destination.policy if bucket else Policy()
            change = decide(session, self.clock.now(), policy)
            if await self.sessions.apply(change):
                self._tell(change)
                return change.after
        raise LeaseLost

    def _tell(self, change: Change) -> None:
        after = change.after
        extra = {"session_id": after.id, "epoch": after.progress.epoch}
        _log.info(f"job.{after.state.value}", extra=extra)
        if change.job_at is not None:
            self.work.ring()


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishJob:
    end_lease: EndLease

    async def __call__(self, job_id: str, report: ResultRequest, *, zones: Zones = None) -> Session:
        """:raises ResultTooLarge: more than 64 KiB of JSON.
        :raises LeaseLost:
        """
        if len(bytes(report.result)) > MAX_RESULT_BYTES:
            raise ResultTooLarge.at("/result", f"a result takes at most {MAX_RESULT_BYTES} bytes of JSON")

        def decide(session: Session, now: datetime, policy: Policy) -> Change:
            return _outcome(session, report, now, policy)

        ends = _ENDS[report.outcome]
        return await self.end_lease(
            job_id, token=report.lease, epoch=report.epoch, zones=zones, decide=decide, ends=ends
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseJob:
    end_lease: EndLease

    async def __call__(
        self,
        job_id: str,
        *,
        token: str,
        epoch: int,
        cause: Literal["drain", "infrastructure"],
        zones: Zones = None,
    ) -> Session:
        """:raises LeaseLost:"""

        def decide(session: Session, now: datetime, policy: Policy) -> Change:
            return release(session, now, policy, is_infrastructure=cause == "infrastructure")

        return await self.end_lease(job_id, token=token, epoch=epoch, zones=zones, decide=decide, ends=_RELEASED)


_ENDS = {
    "processed": frozenset({State.PROCESSED}),
    "failed": frozenset({State.FAILED}),
    "rejected": frozenset({State.REJECTED}),
    "retry": frozenset({State.VERIFIED, State.FAILED}),
}
_RELEASED = frozenset({State.VERIFIED})


def _outcome(session: Session, report: ResultRequest, now: datetime, policy: Policy) -> Change:
    if report.outcome == "processed":
        return finish(session, State.PROCESSED, now, policy, result=bytes(report.result), reason=None)
    reason = _reason(report)
    if report.outcome == "retry":
        after = report.retry_after_seconds
        return retry(session, reason, now, policy, None if after is None else timedelta(seconds=after))
    state: Outcome = State.REJECTED if report.outcome == "rejected" else State.FAILED
    return finish(session, state, now, policy, result=bytes(report.result), reason=reason)


def _reason(report: ResultRequest) -> Reason:
    """Cut, not refused: a worker that cannot say why it failed would fail for ever."""
    if report.reason is None:
        return Reason(code=report.outcome, message="the consumer gave no reason")
    return Reason(code=report.reason.code[:_MAX_CODE], message=report.reason.message[:_MAX_MESSAGE])
