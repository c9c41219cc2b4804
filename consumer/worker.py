"""The loop: leases as many jobs as there is room for, one attempt each, until it is told to stop.

The first signal stops leasing and lets running jobs finish within `drain_seconds`; what is left then is given back. The
second one gives everything back now. A broker that is away is asked again with back-off and jitter, for ever.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from broker.contract import MAX_LEASE_BATCH
from consumer.attempt import Attempt
from consumer.backoff import Backoff
from consumer.client import Broker, Granted
from consumer.errors import BrokerAway, BrokerRefused, ConfigurationInvalid
from consumer.events import Events, describe

REFUSED_WAIT_SECONDS = 15.0  # ours: a key that was revoked may be replaced; asking often does not help


@dataclass(frozen=True, slots=True)
class Signals:
    """What the operator wants. Both only ever become set."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    def receive(self) -> None:
        """Takes one signal: the first asks, the second insists."""
        if self.stop.is_set():
            self.hurry.set()
        self.stop.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Runs attempts. One `run` per value: its tasks are its only state."""

    broker: Broker
    attempt: Attempt
    events: Events
    signals: Signals
    name: str
    concurrency: int = 8
    wait_seconds: float = 20.0
    drain_seconds: float = 30.0
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=0.2, limit_seconds=15.0))
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Until a signal.

        :raises ConfigurationInvalid: the broker refuses the very first request.
        """
        self.events.emit("worker.started", {"worker": self.name, "concurrency": self.concurrency})
        failures, is_known = 0, False
        while not self.signals.stop.is_set():
            free = self.concurrency - len(self._running)
            if free == 0:
                await self._until_stop_or(*self._running)
                continue
            try:
                leased = await self._lease(min(free, MAX_LEASE_BATCH))
                if failures:
                    self.events.emit("broker.back", {"failures": failures})
                failures, is_known = 0, True
            except BrokerRefused as exc:
                if not is_known:
                    raise ConfigurationInvalid(f"cannot lease jobs: {exc.detail}") from exc
                failures += 1
                await self._wait_out("broker.refused", exc.detail, failures, REFUSED_WAIT_SECONDS)
            except BrokerAway as exc:
                failures += 1
                await self._wait_out("broker.away", exc.detail, failures, exc.retry_after_seconds)
            else:
                for granted in leased:
                    self._start(granted)
        await self._drain()

    async def _lease(self, limit: int) -> list[Granted]:
        asking = asyncio.create_task(self.broker.lease(limit, wait_seconds=self.wait_seconds, worker=self.name))
        await self._until_stop_or(asking)
        if asking.done():
            return asking.result()
        asking.cancel()
        with suppress(asyncio.CancelledError, BrokerAway, BrokerRefused):
            return await asking  # an answer that came in the same instant
        return []

    def _start(self, granted: Granted) -> None:
        task = asyncio.create_task(self.attempt.run(granted))
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            # Ours, not the processor's: the lease runs out by itself, and the next attempt may do better.
            self.events.emit("attempt.crashed", {"worker": self.name, "detail": describe(fault)})

    async def _wait_out(self, event: str, detail: str, failures: int, at_least: float) -> None:
        delay = self.backoff.delay_seconds(failures, at_least=at_least)
        self.events.emit(event, {"detail": detail, "failures": failures, "again_in_seconds": round(delay, 1)})
        with suppress(TimeoutError):
            await asyncio.wait_for(self.signals.stop.wait(), delay)

    async def _until_stop_or(self, *tasks: asyncio.Task[None] | asyncio.Task[list[Granted]]) -> None:
        stopping = asyncio.create_task(self.signals.stop.wait())
        try:
            await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()

    async def _drain(self) -> None:
        self.events.emit("worker.draining", {"jobs": len(self._running)})
        hurrying = asyncio.create_task(self.signals.hurry.wait())
        try:
            async with asyncio.timeout(self.drain_seconds):
                while self._running and not hurrying.done():
                    await asyncio.wait({hurrying, *self._running}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            pass
        finally:
            hurrying.cancel()
        left = list(self._running)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self.events.emit("worker.stopped", {"given_back": len(left)})
