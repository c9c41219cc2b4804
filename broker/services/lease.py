"""Lease and renew: a job, the right to finish it, and a read grant that lasts minutes."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from broker.contract import Job, Lease, RenewedLease
from broker.domain.errors import BrokerError, LeaseLost, SessionNotVerified
from broker.domain.jobs import leased_at, release
from broker.domain.objects import unproved
from broker.domain.policy import Policy
from broker.domain.queues import Zones
from broker.domain.sessions import Session
from broker.domain.tokens import Tokens
from broker.ports import Bell, Clock, Jobs, Sessions
from broker.services.at_once import at_once
from broker.services.read import Read

_log = logging.getLogger("broker.jobs")
SIGNED_AT_ONCE = 64  # ours, as for batches
_LONGEST_NAP = timedelta(seconds=1)  # a retry that is due and a lease that ran out ring no bell


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseJobs:
    jobs: Jobs
    sessions: Sessions
    read: Read
    tokens: Tokens
    clock: Clock
    work: Bell
    duration: timedelta

    async def __call__(self, limit: int, *, worker: str, wait: timedelta, zones: Zones = None) -> list[Job]:
        """Up to `limit` jobs of `zones`, at once when there are some, else as soon as one appears within `wait`."""
        deadline = self.clock.now() + wait
        while True:
            now = self.clock.now()
            sessions = await self.jobs.lease(limit, worker=worker, now=now, until=now + self.duration, zones=zones)
            if sessions or now >= deadline:
                # Side by side: each read may be a signature that a provider is asked for.
                jobs = await at_once(SIGNED_AT_ONCE, [partial(self._job, each, now, zones) for each in sessions])
                return [job for job in jobs if isinstance(job, Job)]
            await self.work.wait(min(_LONGEST_NAP, deadline - now))

    async def _job(self, session: Session, now: datetime, zones: Zones) -> Job | None:
        """The job as it leaves the house; a job that cannot be read now goes back, not counted as a failure.

        :raises LedgerUnavailable: it could not be given back, and is again when its lease is over.
        """
        try:
            copy, read = await self.read.for_consumer(session, zones)
        except BrokerError as trouble:
            _log.warning("job.unreadable", extra={"session_id": session.id, "code": trouble.code})
            await self.sessions.apply(release(session, now, Policy(), is_infrastructure=True))
            return None
        facts, stored = session.facts, copy.stored
        assert stored is not None, "read() proved that it was verified"  # noqa: S101 - for the type checker
        _log.info("job.leased", extra={"session_id": session.id, "epoch": session.progress.epoch})
        return Job(
            id=session.id,
            filename=facts.spec.filename,
            size_bytes=stored.size_bytes,
            content_type=facts.spec.content_type,
            destination=copy.destination,
            etag=stored.etag,
            version=stored.version,
            checksum=facts.spec.checksum,
            prove=unproved(facts.spec, stored, copy.guarantees),
            metadata=facts.metadata,
            owner=facts.owner,
            batch=facts.batch,
            attempts=session.attempts,
            lease=_lease(self.tokens, session, now + self.duration),
            read=read,
            traceparent=facts.traceparent or None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewLease:
    jobs: Jobs
    read: Read
    tokens: Tokens
    clock: Clock
    duration: timedelta

    async def __call__(self, job_id: str, *, token: str, epoch: int, zones: Zones = None) -> RenewedLease:
        """The same lease for longer, with a fresh read grant.

        :param zones: the caller's, as they are now: a token that reached another zone must not become a read there.
        :raises LeaseLost: the token is not of this job and epoch, the epoch is over, or the job is none of `zones`.
        """
        now = self.clock.now()
        begun = self.tokens.opens_lease(token, job_id, epoch)
        if begun is None:
            raise LeaseLost
        session = await self.jobs.renew(job_id, epoch, until=now + self.duration, zones=zones)
        if session is None or leased_at(session, epoch) != begun:
            raise LeaseLost
        lease = _lease(self.tokens, session, now + self.duration)
        try:
            _, read = await self.read.for_consumer(session, zones)
        except SessionNotVerified as exc:
            raise LeaseLost("the last copy of it is gone") from exc
        return RenewedLease(lease=lease, read=read)


def _lease(tokens: Tokens, session: Session, expires_at: datetime) -> Lease:
    epoch, begun = session.progress.epoch, session.progress.changed_at
    return Lease(token=tokens.for_lease(session.id, epoch, begun), epoch=epoch, expires_at=expires_at)
