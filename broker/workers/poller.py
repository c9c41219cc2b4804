"""The poller: empties a mailbox. Any number may run; the mailbox lends a message to one of them at a time.

A message is deleted when its hints are in the ledger, and not before. While the ledger is away nothing more is
received, because each time that a message is lent counts towards its mailbox' redrive policy, and an outage of ours is
not the message's fault: what was received is held as long as it is lent, then it comes back by itself.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from broker.domain.errors import BrokerError, LedgerUnavailable
from broker.ports import Collecting, Mailbox, Message, Schedule
from broker.workers.backoff import Backoff
from broker.workers.in_flight import InFlight
from broker.workers.rounds import rounds

_log = logging.getLogger("broker.poller")

T = TypeVar("T")

DRAIN = timedelta(seconds=5)  # ours: half of what Docker waits between SIGTERM and SIGKILL
FIRST_PAUSE = timedelta(milliseconds=500)
LONGEST_PAUSE = timedelta(seconds=30)  # before a queue is asked again that somebody must mend
LONGEST_WAIT = timedelta(seconds=5)  # with messages in hand
LEDGER_PAUSE = timedelta(seconds=1)
MARGIN = 0.25  # of a loan: for a call that is on its way when the loan runs out


@dataclass(slots=True, kw_only=True)
class Poller:
    """One mailbox. Runs until cancelled; then ends what it has begun, within `DRAIN`.

    :param receivers: how many batches at once, of which each waits in a long poll or is being recorded.
    """

    source: str
    mailbox: Mailbox
    collect: Collecting
    schedule: Schedule
    receivers: int
    _running: InFlight = field(default_factory=InFlight)
    _leaving: asyncio.Event = field(default_factory=asyncio.Event)
    _backoff: Backoff = field(default_factory=lambda: Backoff(first=FIRST_PAUSE, longest=LONGEST_PAUSE))
    _paused_until: float = 0.0
    _is_ledger_doubted: bool = False
    _is_scouting: bool = False
    _troubles: dict[str, BrokerError] = field(default_factory=dict)

    @property
    def troubles(self) -> Mapping[str, BrokerError]:
        """What it cannot do at the moment, and why: receive, record, delete."""
        return self._troubles

    async def run(self) -> None:
        try:
            await rounds(self._round, name="poller", log=_log)
        finally:
            self._leaving.set()
            await self._running.drain(DRAIN)

    async def _round(self) -> None:
        """One receiver more, or none for a while."""
        now = asyncio.get_running_loop().time()
        if now < self._paused_until:
            await asyncio.sleep(self._paused_until - now)
        elif self._is_ledger_doubted:
            self._is_ledger_doubted = bool((await self.schedule.check()).faults)
            await asyncio.sleep(LEDGER_PAUSE.total_seconds() if self._is_ledger_doubted else 0)
        elif len(self._running) == self.receivers or (self._backoff.is_rising and self._is_scouting):
            await self._running.one_ends()
        elif self._backoff.is_rising:
            self._is_scouting = True
            self._running.start(self._scout())
        else:
            self._running.start(self._turn())

    async def _scout(self) -> None:
        """In trouble one goes ahead – beside those who wait since before –, and others follow when it came through."""
        try:
            await self._turn()
        finally:
            self._is_scouting = False

    async def _turn(self) -> None:
        try:
            messages = await self.mailbox.receive()
        except BrokerError as trouble:
            self._note("receive", trouble)
            self._pause()
        except Exception:
            _log.exception("poller.stumbled", extra={"source": self.source})
            self._pause()
        else:
            self._backoff.reset()
            self._go_on("receive")
            if messages:
                await self._take(messages)

    async def _take(self, messages: Sequence[Message]) -> None:
        """A batch that is lent; whatever goes wrong, it comes back."""
        try:
            async with asyncio.timeout(self.mailbox.loan.total_seconds() * (1 - MARGIN)):
                if not self._leaving.is_set():
                    messages = await self._settle(messages)
                if messages and self._leaving.is_set():
                    await self.mailbox.release(messages)
                    _log.info("poller.released", extra={"source": self.source, "count": len(messages)})
        except TimeoutError:
            _log.warning("poller.let-go", extra={"source": self.source, "count": len(messages)})
        except BrokerError as trouble:
            _log.warning("poller.let-go", extra={"source": self.source, "count": len(messages), "code": trouble.code})
        except Exception:
            _log.exception("poller.stumbled", extra={"source": self.source})
            self._pause()

    async def _settle(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Records, then deletes. What is left to be given back when this process must leave."""
        collected = await self._insist("record", lambda: self.collect(messages))
        if collected is None:
            return messages
        left, pauses = collected.done, Backoff(first=FIRST_PAUSE, longest=LONGEST_WAIT)
        while left:
            deletion = await self._insist("delete", lambda batch=left: self.mailbox.delete(batch))  # type: ignore[misc]
            if deletion is None:
                return left
            if deletion.lost:
                _log.warning("poller.undeleted", extra={"source": self.source, "count": len(deletion.lost)})
            left = deletion.again
            if left and not await self._stays(pauses.next()):
                return left
        return ()

    async def _insist(self, what: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """Tries until it succeeds, the loan is nearly over (`TimeoutError`), or this process must leave (None)."""
        pauses = Backoff(first=FIRST_PAUSE, longest=LONGEST_WAIT)
        while True:
            try:
                answer = await call()
            except BrokerError as trouble:
                self._is_ledger_doubted |= isinstance(trouble, LedgerUnavailable)
                self._note(what, trouble)
            else:
                self._go_on(what)
                return answer
            if not await self._stays(pauses.next()):
                return None

    async def _stays(self, pause: timedelta) -> bool:
        """Waits; False as soon as this process must leave."""
        try:
            async with asyncio.timeout(pause.total_seconds()):
                await self._leaving.wait()
        except TimeoutError:
            return True
        return False

    def _pause(self) -> None:
        """Nobody receives for a while; what stumbles meanwhile had begun before, and makes it no longer."""
        now = asyncio.get_running_loop().time()
        if now >= self._paused_until:
            self._paused_until = now + self._backoff.next().total_seconds()

    def _note(self, what: str, trouble: BrokerError) -> None:
        self._troubles[what] = trouble
        extra = {"source": self.source, "what": what, "code": trouble.code, "why": trouble.detail}
        _log.warning("poller.waiting", extra=extra)

    def _go_on(self, what: str) -> None:
        if self._troubles.pop(what, None):
            _log.info("poller.went-on", extra={"source": self.source, "what": what})
