"""Waiting before another try: doubling, bounded, with full jitter so that a fleet does not come back as one."""

import asyncio
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    base_seconds: float = 0.1
    limit_seconds: float = 10.0

    def delay_seconds(self, failures: int, *, at_least: float = 0.0) -> float:
        """Between half and the whole of the doubled wait, so that a try is never immediate."""
        doubled = min(self.base_seconds * 2.0 ** min(failures - 1, 32), self.limit_seconds)
        return max(doubled * random.uniform(0.5, 1.0), at_least)  # noqa: S311 – jitter, not a secret

    async def wait(self, failures: int, *, at_least: float = 0.0) -> None:
        await asyncio.sleep(self.delay_seconds(failures, at_least=at_least))
