"""What webhooks were told, counted where it is noted."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.domain.webhooks import Attempt
from broker.ports import Deliveries, Delivery
from broker.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedDeliveries:
    deliveries: Deliveries
    metrics: Metrics

    async def claim(self, webhook: str, limit: int, *, now: datetime, hold: timedelta) -> list[Delivery]:
        return await self.deliveries.claim(webhook, limit, now=now, hold=hold)

    async def settle(self, delivery: Delivery, attempt: Attempt, *, again_at: datetime | None) -> bool:
        self.metrics.told(delivery, attempt)  # before: told is told, noted or not
        return await self.deliveries.settle(delivery, attempt, again_at=again_at)
