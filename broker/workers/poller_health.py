"""Whether a process that polls can work: its ledger, and whether it gets at its queues."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from broker.ports import Backlog, Checkup, Schedule
from broker.workers.poller import Poller


@dataclass(frozen=True, slots=True, kw_only=True)
class PollingSchedule:
    """`Schedule`, with the troubles of pollers among its faults. Sentences and codes: no URL stands in an answer that
    anybody may read; the log says more."""

    schedule: Schedule
    pollers: Sequence[Poller]

    async def backlog(self, *, now: datetime) -> Backlog:
        return await self.schedule.backlog(now=now)

    async def next_due(self) -> datetime | None:
        return await self.schedule.next_due()

    async def check(self) -> Checkup:
        found = await self.schedule.check()
        troubles = [
            f"source {poller.source!r}: cannot {what} ({trouble.code})"
            for poller in self.pollers
            for what, trouble in poller.troubles.items()
        ]
        return replace(found, faults=(*found.faults, *troubles))
