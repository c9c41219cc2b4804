"""An upload of trees in a log: a line every few seconds, and never a burst, however many files fail at once."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from uploader import events
from uploader.progress import LINE_INTERVAL
from uploader.transfer.meter import TreeMeter
from uploader.views.reading import Reader, Reading
from uploader.views.wording import (
    aside_texts,
    failure_text,
    header,
    pair_text,
    percent_text,
    safe,
    scanned_text,
    slowed_text,
    speed_texts,
)

FAILURES_A_LINE = 3  # ours: with each line of progress; the manifest has all


class PlainTreeView:
    """:param clock: seconds, as `time.monotonic`."""

    interval = LINE_INTERVAL
    wants_files = False

    def __init__(self, err: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._err = err
        self._reader = Reader(clock)
        self._failures: list[events.FileFailed] = []
        self._untold = 0
        self._slowed: events.TreeSlowed | events.TreeRetrying | None = None
        self._last = ""

    def on_event(self, event: events.Event | events.TreeEvent) -> None:
        match event:
            case events.TreeBegan():
                self._reader.wait_for(event.wait)
                for label, text in header(event):
                    self._print(f"{label}: {safe(text)}")
            case events.TreeScanned():
                self._print(scanned_text(event))
            case events.FileFailed() if len(self._failures) < FAILURES_A_LINE:
                self._failures.append(event)
            case events.FileFailed():
                self._untold += 1
            case events.TreeSlowed() | events.TreeRetrying():
                self._slowed = event

    def on_meter(self, meter: events.Meter) -> None:
        """A file on its own: the tree's meter has it."""

    def on_tree(self, meter: TreeMeter) -> None:
        self._reader.attend(meter)

    def tick(self) -> None:
        self._tell_troubles()
        reading = self._reader.read()
        if reading is None or not reading.meter.found_files:
            return
        line = progress_line(reading)
        if line != self._last:
            self._print(line)
            self._last = line

    @contextmanager
    def opened(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._tell_troubles()

    def _tell_troubles(self) -> None:
        for failure in self._failures:
            self._print(f"failed: {failure_text(failure)}")
        if self._untold:
            self._print(f"failed: {self._untold:,} more")
        if self._slowed is not None:
            self._print(slowed_text(self._slowed))
        self._failures, self._untold, self._slowed = [], 0, None

    def _print(self, line: str) -> None:
        print(line, file=self._err, flush=True)


def progress_line(reading: Reading) -> str:
    meter, word = reading.meter, "verified" if reading.is_looked_at else "sent"
    files, done = reading.done(reading.files), reading.done(reading.bytes)
    share = percent_text(done, reading.bytes.whole) if meter.is_scanned else "scanning"
    asides = [f"{meter.failed_files:,} failed" if meter.failed_files else "", *aside_texts(reading)]
    texts = [
        share,
        f"{files:,} of {reading.files.whole:,} files {word}",
        pair_text(done, reading.bytes.whole),
        *speed_texts(reading),
        *asides,
    ]
    return ", ".join(filter(None, texts))
