"""Who keeps time for credentials: what is held is renewed before it ends, one after the other, in the background."""

import asyncio
import random
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

from broker.ports import Clock
from broker.storage.held import CredentialSource, Held, HeldCredentials, Jitter, Renewal, Told

_LONGEST_SLEEP: Final = timedelta(seconds=30)  # ours: after a suspended machine wakes, the clock has leapt
# Ours. A request costs a millisecond of Python, for which mints wait: hundreds at once would be felt.
_PACE: Final = timedelta(milliseconds=10)


class Renewals:
    """The credentials of a process that end. Belongs to one event loop."""

    def __init__(self, *, clock: Clock, jitter: Jitter = random.random, told: Told = lambda _: None) -> None:
        self._clock, self._jitter, self._told = clock, jitter, told
        self._news = asyncio.Event()
        self._held: list[HeldCredentials[Any]] = []

    def hold(self, source: CredentialSource[Held]) -> HeldCredentials[Held]:
        """What `source` gives, held from now on."""
        held = HeldCredentials(source, clock=self._clock, jitter=self._jitter, told=self._hear)
        self._held.append(held)
        self._news.set()
        return held

    async def run(self) -> None:
        """Renews what is due, for ever. What holds nothing is asked for at once, the rest one after the other."""
        while True:
            self._news.clear()
            now = self._clock.now()
            due = sorted((held for held in self._held if held.ask_at <= now), key=lambda held: held.ask_at)
            usable = [held for held in due if held.is_usable(now)]
            for held in [each for each in due if not each.is_usable(now)] + usable[:1]:
                held.renew(now)
            if usable:
                await asyncio.sleep(_PACE.total_seconds())
            else:
                await self._until_due(now)

    def close(self) -> None:
        for held in self._held:
            held.close()

    async def _until_due(self, now: datetime) -> None:
        following = min((held.ask_at for held in self._held), default=now + _LONGEST_SLEEP)
        pause = min(max(following - now, _PACE), _LONGEST_SLEEP)
        # Not `wait_for`: until Python 3.12 it loses a cancellation that comes with the news.
        with suppress(TimeoutError):
            async with asyncio.timeout(pause.total_seconds()):
                await self._news.wait()

    def _hear(self, renewal: Renewal) -> None:
        self._news.set()
        self._told(renewal)
