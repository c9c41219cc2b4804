"""The ledger's rights, counted: who writes through these is seen, whichever use case it is.

Decorators of ports: they promise what the port promises. A new way to change a session belongs here too, and the type
checker says so, because these are handed to the use cases in place of the ledger.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from broker.domain.errors import BrokerError
from broker.domain.queues import Zones
from broker.domain.sessions import Change, Session
from broker.ports import Created, Idempotency, Jobs, NewSession, Quota, Sessions
from broker.telemetry.metrics import Metrics
from broker.telemetry.tracing import Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedSessions:
    sessions: Sessions
    metrics: Metrics
    tracing: Tracing

    async def create(
        self,
        session: Session,
        *,
        look_at: datetime,
        idempotency: Idempotency | None,
        quota: Quota | None = None,
        copies: tuple[NewSession, ...] = (),
    ) -> Created:
        created = await self.sessions.create(
            session, look_at=look_at, idempotency=idempotency, quota=quota, copies=copies
        )
        if not created.is_replay:
            self.metrics.begun(*_kind(created))
        return created

    async def create_many(
        self, items: Sequence[NewSession], *, quota: Quota | None = None
    ) -> list[Created | BrokerError]:
        made = await self.sessions.create_many(items, quota=quota)
        kinds = Counter([_kind(each) for each in made if isinstance(each, Created) and not each.is_replay])
        for (destination, strategy), count in kinds.items():
            self.metrics.begun(destination, strategy, count)
        return made

    async def get(self, session_id: str) -> Session | None:
        return await self.sessions.get(session_id)

    async def get_many(self, session_ids: Sequence[str]) -> list[Session | None]:
        return await self.sessions.get_many(session_ids)

    async def apply(self, change: Change, *more: Change, begins: NewSession | None = None) -> bool:
        told = next((each for each in (change, *more) if each.is_told), None)
        if told is None:
            return await self.sessions.apply(change, *more, begins=begins)
        to = {"upload.session_id": told.after.id, "upload.state": told.after.state.value}
        with self.tracing.step("settle", to):
            is_applied = await self.sessions.apply(change, *more, begins=begins)
        if is_applied:
            self.metrics.applied(told)
        return is_applied


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedJobs:
    jobs: Jobs
    metrics: Metrics

    async def lease(
        self, limit: int, *, worker: str, now: datetime, until: datetime, zones: Zones = None
    ) -> list[Session]:
        leased = await self.jobs.lease(limit, worker=worker, now=now, until=until, zones=zones)
        for session in leased:
            self.metrics.leased(session)
        return leased

    async def renew(self, session_id: str, epoch: int, *, until: datetime, zones: Zones = None) -> Session | None:
        return await self.jobs.renew(session_id, epoch, until=until, zones=zones)


def _kind(created: Created) -> tuple[str, str]:
    facts = created.session.facts
    strategy = "multipart" if facts.multipart else "resumable" if facts.resumable else "put"
    return facts.destination, strategy
