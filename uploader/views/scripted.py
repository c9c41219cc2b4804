"""An upload of trees as JSON lines: every event as it stands, each verified file, and once a second how far it is."""

import time
from collections.abc import Callable
from typing import TextIO

import msgspec

from uploader import events
from uploader.progress import JsonView
from uploader.transfer.meter import TreeMeter
from uploader.views.reading import Reader, Reading


class JsonTreeView(JsonView):
    """:param clock: seconds, as `time.monotonic`."""

    wants_files = True

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(out)
        self._reader = Reader(clock)
        self._is_over = False

    def on_event(self, event: events.Event | events.TreeEvent) -> None:
        match event:
            case events.TreeBegan():
                self._reader.wait_for(event.wait)
            case events.TreeFinished():
                self._is_over = True
            case events.FileVerified():  # thousands a second: flushed with what comes next
                self._out.write(msgspec.json.encode(event).decode() + "\n")
                return
        self._print(event)

    def on_tree(self, meter: TreeMeter) -> None:
        self._reader.attend(meter)

    def tick(self) -> None:
        reading = self._reader.read()
        if reading is not None and not self._is_over:
            self._print(progressed(reading))


def progressed(reading: Reading) -> events.TreeProgressed:
    meter, eta = reading.meter, reading.eta_seconds
    return events.TreeProgressed(
        is_scanned=meter.is_scanned,
        found_files=meter.found_files,
        found_bytes=meter.found_bytes,
        unchanged_files=meter.unchanged_files,
        todo_files=meter.todo_files,
        todo_bytes=meter.todo_bytes,
        sent_files=meter.sent_files,
        sent_bytes=meter.sent_bytes + sum(each.done_bytes for each in meter.large),
        resent_bytes=meter.resent_bytes,
        verified_files=meter.verified_files,
        verified_bytes=meter.verified_bytes,
        failed_files=meter.failed_files,
        skipped_files=meter.skipped_files,
        vanished_files=meter.vanished_files,
        concurrency=meter.concurrency,
        limit=meter.limit,
        seconds=round(reading.seconds, 1),
        files_per_second=round(reading.files_per_second, 1),
        bytes_per_second=round(reading.bytes_per_second),
        eta_seconds=None if eta is None or reading.is_least else round(eta, 1),
    )
