"""What a person, a log or a script sees of an upload: a bar on a terminal, plain lines in a pipe, or JSON lines.

Progress and remarks go to stderr, the one line of the outcome to stdout; with `--json` every event goes to stdout.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from typing import Protocol, TextIO

import msgspec

from uploader import events
from uploader.remarks import copies_text, remark, size_text

LINE_INTERVAL = 5.0  # ours: a log wants to see that it goes on, not every percent

PHASES: dict[events.Phase, str] = {
    "hashing": "hashing",
    "sending": "sending",
    "waiting": "waiting for the broker",
    "reading": "reading",
}


class View(events.Observer, Protocol):
    """An observer that also wants to be called now and then."""

    interval: float

    def tick(self) -> None: ...

    def opened(self) -> AbstractContextManager[object]: ...


class JsonView:
    """One JSON object a line: every event as it stands, and how far the file is now and then."""

    interval = 1.0

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._meters: dict[int, events.Meter] = {}

    def on_event(self, event: events.Event) -> None:
        self._print(event)
        if isinstance(event, events.Finished | events.Failed | events.Aborted | events.Kept):
            self._meters.clear()

    def on_meter(self, meter: events.Meter) -> None:
        self._meters[id(meter)] = meter

    def tick(self) -> None:
        for meter in self._meters.values():
            if 0 < meter.done_bytes < meter.total_bytes:
                self._print(
                    events.Progressed(
                        file=meter.file,
                        phase=meter.phase,
                        done_bytes=meter.done_bytes,
                        total_bytes=meter.total_bytes,
                        copies={copy.label: copy.done_bytes for copy in meter.copies},
                    )
                )

    def opened(self) -> AbstractContextManager[object]:
        return nullcontext()

    def _print(self, event: events.Event | events.TreeEvent) -> None:
        print(msgspec.json.encode(event).decode(), file=self._out, flush=True)


class PlainView:
    """Lines for a pipe, a log or `--quiet` terminals."""

    interval = LINE_INTERVAL

    def __init__(self, err: TextIO) -> None:
        self._err = err
        self._meter: events.Meter | None = None

    def on_event(self, event: events.Event) -> None:
        if line := remark(event):
            print(line, file=self._err, flush=True)

    def on_meter(self, meter: events.Meter) -> None:
        self._meter = meter

    def tick(self) -> None:
        meter = self._meter
        if meter is not None and 0 < meter.done_bytes < meter.total_bytes:
            share = 100 * meter.done_bytes // meter.total_bytes
            done = f"{size_text(meter.done_bytes)} of {size_text(meter.total_bytes)}"
            copies = f" – {copies_text(meter)}" if meter.copies else ""
            print(f"{meter.file}: {PHASES[meter.phase]} {share} % ({done}){copies}", file=self._err, flush=True)

    def opened(self) -> AbstractContextManager[object]:
        return nullcontext()


def choose_view(*, is_json: bool) -> View:
    """By what was asked and by what stderr is."""
    if is_json:
        return JsonView(sys.stdout)
    if not is_live(sys.stderr):
        return PlainView(sys.stderr)
    from rich.console import Console  # noqa: PLC0415 - only where it is seen

    from uploader.views.bar import BarView  # noqa: PLC0415

    return BarView(Console(stderr=True))


def is_live(stream: TextIO) -> bool:
    """A terminal on which what was written can be written over."""
    return stream.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}


@asynccontextmanager
async def ticking(view: View) -> AsyncIterator[None]:
    """Calls the view now and then while the body runs."""

    async def tick() -> None:
        while True:
            await asyncio.sleep(view.interval)
            view.tick()

    with view.opened():
        ticker = asyncio.create_task(tick())
        try:
            yield
        finally:
            ticker.cancel()
            with suppress(asyncio.CancelledError):
                await ticker
