"""The sweeper: a pass over every destination, again and again. Any number may run; they only do each other's work."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from broker.domain.errors import BrokerError
from broker.ports import Bucket
from broker.services.broom import Broom
from broker.services.sweep import AT_MOST, Sweep
from broker.services.sweep_report import SweepReport

_log = logging.getLogger("broker.sweeper")

# After a pass that was refused or broken off: at a first start the stores are not marked yet.
SOON = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweeper:
    """Runs until cancelled.

    :param broom: None only looks.
    :param tell: is given the report of every pass that came to its end.
    """

    sweep: Sweep
    broom: Broom | None
    buckets: Sequence[Bucket]
    every: timedelta
    tell: Callable[[SweepReport], None]
    at_most: float = AT_MOST

    async def run(self) -> None:
        while True:
            ended = [await self._is_ended(bucket) for bucket in self.buckets]
            await asyncio.sleep((self.every if all(ended) else min(self.every, SOON)).total_seconds())

    async def _is_ended(self, bucket: Bucket) -> bool:
        destination = bucket.destination.name
        try:
            report = await self.sweep(bucket, self.broom, at_most=self.at_most)
        except BrokerError as trouble:
            _log.error("sweep.refused", extra={"destination": destination, "code": trouble.code, "why": trouble.detail})
        except Exception:
            _log.exception("sweep.stumbled", extra={"destination": destination})
        else:
            if report.stopped:
                _log.error("sweep.stopped", extra={"destination": destination, "why": report.stopped})
            self.tell(report)
            return True
        return False
