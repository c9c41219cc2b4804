"""One run: the scan, what an earlier run left, and the rooms that bring each file to rest.

    scan ─▶ manifest ─▶ minter ─▶ small ─▶ collector ─▶ register ─▶ manifest
                          └─────▶ large ─────┘

It ends when the scan is done, nothing is pending and nobody holds anything; or early: nobody answers, the broker
refuses, or somebody has had enough. Then nothing new is begun, what is in flight has two seconds, and the same command
goes on where this one ended.
"""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from uploader import events
from uploader.errors import EXIT_INTERRUPTED, UploaderError
from uploader.means import Means
from uploader.together import together
from uploader.transfer.meter import TreeMeter
from uploader.transfer.order import SHOWN_FAILURES, TreeOrder, TreeResult
from uploader.transfer.rooms import Rooms, furnish
from uploader.transfer.scanning import Scanning
from uploader.transfer.small import Lane
from uploader.transfer.telling import began, finished
from uploader.transfer.watch import Watch
from uploader.tree.errors import ManifestUnusable
from uploader.tree.intake import Intake
from uploader.tree.manifest import Manifest
from uploader.tree.reader import Reader
from uploader.tree.rows import Count, Row
from uploader.tree.states import UNSETTLED, FileState

IN_FLIGHT_SECONDS = 2.0  # ours: for what has begun when the run is to stop

Counts = dict[FileState, Count]


@dataclass(slots=True, kw_only=True)
class Transfer:
    """:ivar path: where the manifest lies."""

    order: TreeOrder
    manifest: Manifest
    path: Path
    means: Means
    lane: Lane
    observer: events.TreeObserver
    meter: TreeMeter = field(init=False, default_factory=TreeMeter)
    watch: Watch = field(init=False, default_factory=Watch)
    _crash: Exception | None = field(init=False, default=None)

    async def run(self) -> TreeResult:
        """Do it. What goes wrong with the run as a whole is the result's `error`.

        :raises asyncio.CancelledError: after what was in flight has ended, or had its time.
        """
        before, _ = await self._look()
        self._seed(before)
        self.observer.on_tree(self.meter)
        self.observer.on_event(began(self.manifest.about, self.path, self.order))
        rooms = self._rooms()
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
        scan = self._begin(self._scanning(left).run())
        course = self._begin(self._course(rooms))
        senders = [self._begin(each) for each in rooms.senders()]
        attendants = [self._begin(each) for each in rooms.attendants()]
        stopped = asyncio.create_task(self.watch.stopped.wait())
        try:
            await asyncio.wait([course, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_early = not course.done() or self.watch.is_stopping
            self.watch.stop()
            rooms.close()
            await _ended([course, scan, stopped], 0)
            await _ended(senders, IN_FLIGHT_SECONDS if is_early else 0)
            await _ended(attendants, 0)
            rooms.collector.leave()
            with suppress(ManifestUnusable):
                await rooms.register.flush()

    async def _course(self, rooms: Rooms) -> None:
        """From the first file to the last."""
        await rooms.recovery.run()
        await rooms.abandoned.abort()
        await together(rooms.minters())
        await rooms.abandoned.abort()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """What goes wrong in one room stops all of them."""
        try:
            await work
        except UploaderError as exc:
            self.watch.stop(exc)
        except Exception as exc:  # a fault of ours: raised once everything has come to its end
            self._crash = self._crash or exc
            self.watch.stop()

    def _rooms(self) -> Rooms:
        return furnish(
            self.order, self.manifest, self.means, self.lane, self.watch, self.meter, self.observer, self._notify
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

    def _notify(self, what: str, why: str, pause: timedelta, attempt: int) -> None:
        """The broker is asked again."""

    async def _look(self) -> tuple[Counts, tuple[Row, ...]]:
        return await asyncio.get_running_loop().run_in_executor(self.means.executor, _counted, self.path)

    async def _result(self, rooms: Rooms) -> TreeResult:
        counts, failures = await self._look()
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
            vanished_files=counts[FileState.VANISHED].files,
            missing_copies=rooms.large.missing_copies,
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


def _counted(path: Path) -> tuple[Counts, tuple[Row, ...]]:
    with Reader.open(path) as reader:
        return reader.counts(), tuple(islice(reader.rows((FileState.FAILED,)), SHOWN_FAILURES))


async def _ended(tasks: list[asyncio.Task[Any]], seconds: float) -> None:
    """After so long at most they are stopped."""
    if seconds:
        await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
