"""Who asks, and how often that may be."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from broker.domain.principals import ApiKey, Rate


class ApiKeys(Protocol):
    async def find(self, key_id: str) -> ApiKey | None:
        """The live key with this public id, as it stands now: a revocation is seen at once.

        :raises LedgerUnavailable:
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """How many turns were given, and how long it is until there is another."""

    count: int
    next_after: timedelta


class Rates(Protocol):
    async def take(self, principal: str, rate: Rate, wanted: int) -> Taken:
        """Takes as many of `wanted` turns as `rate` leaves to `principal`, perhaps none. Exact over all processes.

        :raises LedgerUnavailable:
        """
