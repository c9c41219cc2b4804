"""Holding one job: renews its lease at a third of its life, and hands the reader a signed GET that is still good.

The lease outlives trouble: while the broker is away renewal tries again and again, because the fence – not our clock –
says whether the job is still ours.
"""

import asyncio
from dataclasses import dataclass, field

from consumer.backoff import Backoff
from consumer.client import Broker, Grant
from consumer.errors import BrokerAway, BrokerRefused
from consumer.events import Events
from consumer.tracing import UNTRACED, Try

READ_MARGIN_SECONDS = 5.0  # ours: a GET that would expire while it is on its way is not sent


@dataclass(slots=True, kw_only=True)
class Tenure:
    """The present grant of one job. The only mutable thing about it."""

    broker: Broker
    events: Events
    job_id: str
    grant: Grant
    traced: Try = UNTRACED
    _renewing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def epoch(self) -> int:
        return self.grant.lease.epoch

    async def keep(self) -> None:
        """Renews until it is cancelled.

        :raises LeaseLost: the job is not ours any more.
        """
        failures = 0
        while True:
            grant = self.grant
            life = max(grant.lease_ends - grant.since, 0.0)
            backoff = Backoff(base_seconds=max(life / 30, 0.05), limit_seconds=max(life / 6, 0.1))
            if failures:
                await backoff.wait(failures)
            else:
                await asyncio.sleep(max(grant.since + life / 3 - _time(), 0.05))
            try:
                await self.renew(self.grant if failures else grant)
                failures = 0
            except (BrokerAway, BrokerRefused) as exc:
                failures += 1
                self.events.emit(
                    "lease.renewal_failed",
                    {"session_id": self.job_id, "epoch": self.epoch, "reason": exc.detail, "failures": failures},
                )

    async def renew(self, seen: Grant) -> Grant:
        """A grant newer than `seen`: somebody else's renewal, if there was one meanwhile.

        :raises LeaseLost, BrokerAway, BrokerRefused:
        """
        async with self._renewing:
            if self.grant is seen:
                self.grant = await self.broker.renew(self.job_id, seen.lease)
            return self.grant

    async def readable(self) -> Grant:
        """A grant whose GET does not expire at once.

        :raises LeaseLost, BrokerAway, BrokerRefused:
        """
        grant = self.grant
        margin = min(READ_MARGIN_SECONDS, (grant.read_ends - grant.since) / 4)
        return grant if grant.read_ends - _time() > margin else await self.renew(grant)


def _time() -> float:
    return asyncio.get_running_loop().time()
