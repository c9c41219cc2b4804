"""One run: the scan, what an earlier run left, and the rooms that bring each file to rest.

    scan ─▶ manifest ─▶ minter ─▶ small ─▶ collector ─▶ register ─▶ manifest
                          └─────▶ large ─────┘

It ends when the scan is done, nothing is pending and nobody holds anything; or early: nobody answers, the broker
refuses, or somebody has had enough. Then nothing new is begun, what is in flight has two seconds, and the same command
goes on where this one ended.
"""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from pathlib import Path

from uploader import events
from uploader.errors import EXIT_INTERRUPTED
from uploader.means import Means
from uploader.together import together
from uploader.transfer.abandoned import Abandoned
from uploader.transfer.meter import TreeMeter
from uploader.transfer.order import SHOWN_FAILURES, TreeOrder, TreeResult
from uploader.transfer.parallel_crew import Crew
from uploader.transfer.parallel_wire import Begin
from uploader.transfer.recovery import Recovery
from uploader.transfer.rooms import Rooms, furnish
from uploader.transfer.scanning import Scanning
from uploader.transfer.small import Lane
from uploader.transfer.steps import LocalSteps
from uploader.transfer.telling import began, finished, notifying
from uploader.transfer.watch import Watch
from uploader.transfer.work import Work
from uploader.tree.intake import Intake
from uploader.tree.manifest import Manifest
from uploader.tree.reader import Reader
from uploader.tree.rows import Count, Row
from uploader.tree.states import UNSETTLED, FileState

Counts = dict[FileState, Count]


@dataclass(slots=True, kw_only=True)
class Transfer:
    """
    :ivar path: where the manifest lies.
    :ivar begin: what to tell sender processes; None: this one sends by itself.
    """

    order: TreeOrder
    manifest: Manifest
    path: Path
    means: Means
    lane: Lane
    observer: events.TreeObserver
    begin: Begin | None = None
    crew: Crew | None = field(init=False, default=None)
    meter: TreeMeter = field(init=False, default_factory=TreeMeter)
    watch: Watch = field(init=False, default_factory=Watch)
    _crash: Exception | None = field(init=False, default=None)

    async def run(self) -> TreeResult:
        """Do it. What goes wrong with the run as a whole is the result's `error`.

        :raises asyncio.CancelledError: after what was in flight has ended, or had its time.
        """
        before, *_ = await self._look()
        self._seed(before)
        self.observer.on_tree(self.meter)
        self.observer.on_event(began(self.manifest.about, self.path, self.order))
        rooms = self._rooms()
        self.crew = self._crew(rooms, self.begin) if self.begin else None
        try:
            await self._work(rooms, _left(before))
        except asyncio.CancelledError:
            self.observer.on_event(finished(await self._result(rooms), EXIT_INTERRUPTED))
            raise
        if self._crash is not None:
            raise self._crash
        result = await self._result(rooms)
        self.observer.on_event(finished(result, result.exit_code))
        return result

    def _seed(self, before: Counts) -> None:
        verified, failed = before[FileState.VERIFIED], before[FileState.FAILED]
        self.meter.verified_files, self.meter.verified_bytes = verified.files, verified.size_bytes
        self.meter.failed_files, self.meter.failed_bytes = failed.files, failed.size_bytes

    async def _work(self, rooms: Rooms, left: Count) -> None:
        await asyncio.wrap_future(self.manifest.serve(self.order.sequence))
        work, abandoned = Work(rooms=rooms, watch=self.watch), self._abandoned(rooms)
        senders = rooms.senders() if self.crew is None else ()
        try:
            await work.run(self._course(rooms, abandoned), senders, [self._scanning(left).run(), abandoned.work()])
        finally:
            self._crash = work.crash

    async def _course(self, rooms: Rooms, abandoned: Abandoned) -> None:
        """From the first file to the last."""
        recovery = self._recovery(rooms)
        await recovery.run()
        await abandoned.abort()
        await (together(rooms.minters()) if self.crew is None else self.crew.work(recovery.run))
        await abandoned.abort()

    def _recovery(self, rooms: Rooms) -> Recovery:
        return Recovery(
            manifest=self.manifest,
            broker=self.means.broker,
            register=rooms.register,
            collector=rooms.collector,
            watch=self.watch,
            is_fan_out=len(self.order.destinations) > 1,
            notify=notifying(self.observer),
        )

    def _abandoned(self, rooms: Rooms) -> Abandoned:
        return Abandoned(
            manifest=self.manifest,
            broker=self.means.broker,
            is_due=rooms.register.has_abandoned,
            notify=notifying(self.observer),
        )

    def _steps(self) -> LocalSteps:
        return LocalSteps(
            self.manifest,
            self.order.sequence,
            self.means.executor,
            follows_symlinks=self.order.follows_symlinks,
        )

    def _rooms(self) -> Rooms:
        steps, key_of = self._steps(), self.manifest.idempotency_key
        return furnish(self.order, steps, key_of, self.means, self.lane, self.watch, self.meter, self.observer)

    def _crew(self, rooms: Rooms, begin: Begin) -> Crew:
        return Crew(
            begin=begin,
            places=self.order.places,
            steps=self._steps(),
            manifest=self.manifest,
            watch=self.watch,
            meter=self.meter,
            observer=self.observer,
            has_abandoned=rooms.register.has_abandoned,
        )

    def _scanning(self, left: Count) -> Scanning:
        intake = Intake(
            manifest=self.manifest, filters=self.order.filters, follows_symlinks=self.order.follows_symlinks
        )
        return Scanning(
            intake=intake,
            left=left,
            watch=self.watch,
            meter=self.meter,
            observer=self.observer,
            executor=self.means.executor,
        )

    async def _look(self) -> tuple[Counts, tuple[Row, ...], int]:
        return await asyncio.get_running_loop().run_in_executor(self.means.executor, _counted, self.path)

    async def _result(self, rooms: Rooms) -> TreeResult:
        counts, failures, unread = await self._look()
        meter, now = self.meter, time.monotonic()
        return TreeResult(
            manifest=self.path,
            unchanged_files=meter.unchanged_files,
            sent_files=meter.sent_files,
            sent_bytes=meter.sent_bytes,
            resent_bytes=meter.resent_bytes,
            verified_files=counts[FileState.VERIFIED].files,
            verified_bytes=counts[FileState.VERIFIED].size_bytes,
            unsettled_files=counts[FileState.MINTED].files + counts[FileState.SENT].files,
            pending_files=counts[FileState.PENDING].files + counts[FileState.CLAIMED].files,
            failed_files=counts[FileState.FAILED].files,
            skipped_files=counts[FileState.SKIPPED].files,
            unread_files=unread,
            vanished_files=counts[FileState.VANISHED].files,
            missing_copies=rooms.large.missing_copies + (self.crew.missing_copies if self.crew else 0),
            elapsed=timedelta(seconds=round(now - meter.began_at, 3)),
            sending=timedelta(seconds=round(max(0.0, self.watch.sent_at - meter.began_at), 3)),
            wait=self.order.wait,
            failures=failures,
            error=self.watch.error,
        )


def _left(counts: Counts) -> Count:
    """What earlier runs have not finished."""
    some = [counts[state] for state in (*UNSETTLED, FileState.PENDING)]
    return Count(sum(each.files for each in some), sum(each.size_bytes for each in some))


def _counted(path: Path) -> tuple[Counts, tuple[Row, ...], int]:
    with Reader.open(path) as reader:
        failures = tuple(islice(reader.rows((FileState.FAILED,)), SHOWN_FAILURES))
        return reader.counts(), failures, reader.unread()
