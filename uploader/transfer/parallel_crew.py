"""The sender processes of one run: one in each place, another one for each that dies, but not for ever.

What a dead one had claimed is pending again at once. What had a session may be in the bucket: when all have ended, the
broker is asked about it, as after the death of the whole program, and what is not there is sent by others.
"""

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from uploader import events
from uploader.errors import EXIT_UNREACHABLE, BrokerRefused, Unreachable, UploaderError
from uploader.transfer.meter import TreeMeter
from uploader.transfer.parallel_desk import Desk
from uploader.transfer.parallel_process import SenderProcess, environment_of
from uploader.transfer.parallel_sum import Share
from uploader.transfer.parallel_wire import Begin, Ended, Gauge, Scanned, Stop
from uploader.transfer.steps import Steps
from uploader.transfer.watch import Watch
from uploader.transfer.work import IN_FLIGHT_SECONDS
from uploader.tree.manifest import Manifest

MOST_DEATHS = 5  # ours: in each place, one after the other, without a file sent or verified in between
PAUSE_SECONDS = 0.05  # ours: before another one begins; longer with each that dies in a row
IDLE_SECONDS = 0.1  # ours: while the scan goes on and has found nothing yet
GRACE_SECONDS = IN_FLIGHT_SECONDS + 3.0  # ours: for what they have begun when the run is to stop, and to write it down

FromSenders = events.TreeSlowed | events.TreeRetrying | events.FileVerified | events.FileFailed


@dataclass(slots=True, kw_only=True)
class Crew:
    """
    :ivar begin: what each of them is told; what they share is divided already.
    :ivar missing_copies: files with as many copies as they need, but not all.
    """

    begin: Begin
    places: int
    steps: Steps
    manifest: Manifest
    watch: Watch
    meter: TreeMeter
    observer: events.TreeObserver
    has_abandoned: asyncio.Event
    missing_copies: int = field(init=False, default=0)
    _at_work: dict[SenderProcess, Desk] = field(init=False, default_factory=dict)
    _deaths: int = field(init=False, default=0)
    _in_a_row: int = field(init=False, default=0)
    _done_before: int = field(init=False, default=0)

    async def work(self, recover: Callable[[], Awaitable[None]]) -> None:
        """Until every file is at rest. Cancelled, it lets end what they have begun.

        :param recover: asks the broker about all files that have a session.
        :raises ManifestUnusable: the disk does not take it.
        """
        self.meter.limit = 0  # of this process, which sends nothing
        while await self._has_work():
            deaths = self._deaths
            await self._round()
            if self._deaths > deaths:
                await recover()

    async def _has_work(self) -> bool:
        while not self.watch.is_stopping:
            is_last = self.watch.is_scanned and self.watch.held == 0
            if await asyncio.wrap_future(self.manifest.write(_is_pending)):
                return True
            if is_last:
                return False
            await self.watch.stirring(IDLE_SECONDS)
        return False

    async def _round(self) -> None:
        """Until nothing is pending for any of them."""
        places = [asyncio.create_task(self._keep()) for _ in range(self.places)]
        telling = asyncio.create_task(self._tell_of_scan())
        try:
            done, _ = await asyncio.wait(places, return_when=asyncio.FIRST_EXCEPTION)
            for place in done:
                place.result()
        finally:
            telling.cancel()
            await self._end(places)

    async def _keep(self) -> None:
        """One place."""
        while not self.watch.is_stopping:
            desk = await self._one()
            if desk.ended is not None:
                self._take_leave(desk.ended)
                return
            await asyncio.sleep(PAUSE_SECONDS * self._in_a_row)

    async def _one(self) -> Desk:
        process, share = await SenderProcess.start(environment_of(os.environ, self.begin.key)), Share(self.meter)

        def gauge(gauge: Gauge) -> None:
            share.add(gauge)
            if gauge.sent_ago is not None:
                self.watch.sent_at = max(self.watch.sent_at, time.monotonic() - gauge.sent_ago)

        desk = Desk(
            self.steps,
            process.frames,
            has_abandoned=self.has_abandoned,
            greet=self._greeting,
            gauge=gauge,
            told=self._told,
        )
        self._at_work[process] = desk
        try:
            await desk.serve()
            status = await process.wait()
            if desk.ended is None and not self.watch.is_stopping:
                self._mourn(status, "" if desk.is_ready else process.last_words())
            return desk
        finally:
            del self._at_work[process]
            share.end()
            process.close()

    def _mourn(self, status: int, last_words: str) -> None:
        self._deaths += 1
        done = self.meter.sent_files + self.meter.verified_files
        self._in_a_row = 1 if done > self._done_before else self._in_a_row + 1
        self._done_before = done
        if self._in_a_row >= MOST_DEATHS * self.places:
            why = ": ".join(filter(None, (_ending(status), last_words)))
            self.watch.stop(UploaderError(f"the sender processes end again and again ({why})"))

    def _take_leave(self, ended: Ended) -> None:
        self.missing_copies += ended.missing_copies
        if ended.problem is not None:
            self.watch.stop(BrokerRefused(ended.problem))
        elif ended.why:
            kind = Unreachable if ended.exit_code == EXIT_UNREACHABLE else UploaderError
            self.watch.stop(kind(ended.why))

    async def _end(self, places: Sequence[asyncio.Task[None]]) -> None:
        try:
            if self._at_work:
                self._tell(Stop())
                await asyncio.wait(places, timeout=GRACE_SECONDS)
        finally:
            for process in self._at_work:
                process.kill()
        for place in places:
            place.cancel()
        await asyncio.gather(*places, return_exceptions=True)

    async def _tell_of_scan(self) -> None:
        while not self.watch.is_scanned:
            await self.watch.stirring(IDLE_SECONDS)
        self._tell(Scanned())

    def _greeting(self) -> tuple[Begin | Scanned, ...]:
        return (self.begin, Scanned()) if self.watch.is_scanned else (self.begin,)

    def _tell(self, message: Scanned | Stop) -> None:
        for process, desk in self._at_work.items():
            if desk.is_ready:
                process.frames.send(message)

    def _told(self, event: bytes) -> None:
        self.observer.on_event(msgspec.json.decode(event, type=FromSenders))


def _is_pending(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM file WHERE state = 'pending' LIMIT 1").fetchone() is not None


def _ending(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
