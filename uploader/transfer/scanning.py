"""The scan of one run: in a thread of its own, counted as it goes."""

import asyncio
import time
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass

from uploader import events
from uploader.threads import in_thread
from uploader.transfer.meter import TreeMeter
from uploader.transfer.watch import Watch
from uploader.tree.intake import Intake, ScanStopped
from uploader.tree.rows import Count

TALLY_SECONDS = 0.1


@dataclass(slots=True, kw_only=True)
class Scanning:
    """:ivar left: what earlier runs have left to do."""

    intake: Intake
    left: Count
    watch: Watch
    meter: TreeMeter
    observer: events.TreeObserver
    executor: Executor

    async def run(self) -> None:
        """:raises UploaderError: a root cannot be walked, or the manifest not be written."""
        began_at = time.monotonic()
        counting = asyncio.create_task(self._count_on())
        try:
            with suppress(ScanStopped):
                await in_thread(self.executor, self.intake.stop, self.intake.run)
                self._ended(time.monotonic() - began_at)
        finally:
            counting.cancel()

    async def _count_on(self) -> None:
        while True:
            self._count()
            self.watch.stir()
            await asyncio.sleep(TALLY_SECONDS)

    def _count(self) -> None:
        tally, meter = self.intake.tally, self.meter
        meter.found_files = tally.new + tally.changed + tally.unchanged
        meter.found_bytes = tally.size_bytes
        meter.unchanged_files = tally.unchanged
        meter.skipped_files = tally.passed_over
        meter.todo_files = self.left.files + tally.todo_files
        meter.todo_bytes = self.left.size_bytes + tally.todo_bytes

    def _ended(self, seconds: float) -> None:
        self._count()
        self.meter.is_scanned = True
        self.meter.vanished_files += self.intake.tally.vanished
        self.watch.scanned()
        self.observer.on_event(
            events.TreeScanned(
                files=self.meter.found_files,
                size_bytes=self.meter.found_bytes,
                unchanged=self.meter.unchanged_files,
                skipped=self.meter.skipped_files,
                vanished=self.meter.vanished_files,
                seconds=round(seconds, 3),
            )
        )
