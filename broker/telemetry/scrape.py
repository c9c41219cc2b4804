"""What a scrape answers: the counts of this process, and how much waits in the ledger.

The ledger is asked when somebody scrapes, at most every two seconds and for at most one: while it is away the answer
says so, and comes all the same. Every process tells of the same ledger: take the maximum over instances, not the sum.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from prometheus_client import exposition
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from broker.domain.errors import BrokerError
from broker.ports import Backlog, Clock, DeliveryLog, Schedule
from broker.telemetry.metrics import Metrics

KEPT = timedelta(seconds=2)
PATIENCE = timedelta(seconds=1)  # far below Prometheus' scrape_timeout of 10 s
OPENMETRICS = "application/openmetrics-text"


@dataclass(slots=True, kw_only=True)
class Scrape:
    """One per process: it stands in the registry of `metrics`."""

    metrics: Metrics
    schedule: Schedule
    deliveries: DeliveryLog
    clock: Clock
    _seen: "_Seen" = field(init=False)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._seen = _Seen(self.metrics.webhooks)
        self.metrics.registry.register(self._seen)

    async def __call__(self, accept: str = "") -> tuple[str, bytes]:
        """Content type and text.

        :param accept: the header of that name; OpenMetrics where it is named, else the text format 0.0.4.
        """
        async with self._asking:
            await self._ask()
        # Ours, not the library's negotiation: that one parses versions which a stranger wrote.
        if OPENMETRICS in accept:
            return openmetrics.CONTENT_TYPE_LATEST, openmetrics.generate_latest(self.metrics.registry)  # type: ignore[no-untyped-call]
        return exposition.CONTENT_TYPE_PLAIN_0_0_4, exposition.generate_latest(self.metrics.registry)

    async def _ask(self) -> None:
        now = self.clock.now()
        if self._seen.at is not None and now < self._seen.at + KEPT:
            return
        self._seen.backlog = self._seen.untold = None
        with suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(PATIENCE.total_seconds()):
                self._seen.backlog = await self.schedule.backlog(now=now)
                self._seen.untold = await self.deliveries.waiting() if self.metrics.webhooks else {}
        self._seen.at = self.clock.now()


class _Seen(Collector):
    """What the ledger said last; of a ledger that says nothing there is nothing to tell but that."""

    def __init__(self, webhooks: Sequence[str]) -> None:
        self.at: datetime | None = None
        self.backlog: Backlog | None = None
        self.untold: Mapping[str, int] | None = None
        self._webhooks = webhooks

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield _gauge("broker_ledger_up", "Whether the ledger answered this scrape.", self.backlog is not None)
        if (at := self.at) is None or (lot := self.backlog) is None:
            return
        yield _gauge("broker_looks_scheduled", "Sessions that will be looked at.", lot.looks)
        yield _gauge("broker_looks_due", "Looks that are due now.", lot.looks_due)
        yield _gauge("broker_looks_due_oldest_seconds", "How long the oldest is due.", _age(lot.oldest_look, at))
        yield _gauge("broker_jobs_visible", "Jobs that nobody works on.", lot.jobs_visible)
        yield _gauge("broker_jobs_visible_oldest_seconds", "How long the oldest waits.", _age(lot.oldest_job, at))
        yield _gauge("broker_jobs_hidden", "Jobs that are leased, or put off for another try.", lot.jobs_hidden)
        yield _gauge("broker_events_length", "Transitions kept in the streams.", lot.events)
        if (untold := self.untold) is None:
            return
        family = GaugeMetricFamily("broker_webhook_waiting", "Sessions of which it must be told.", labels=("webhook",))
        for webhook in self._webhooks:
            family.add_metric((webhook,), untold.get(webhook, 0))
        yield family


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max((now - since).total_seconds(), 0.0)
