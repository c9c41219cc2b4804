"""What a person, a log or a script sees of an upload: a bar on a terminal, plain lines in a pipe, or JSON lines.

Progress and remarks go to stderr, the one line of the outcome to stdout; with `--json` every event goes to stdout.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from typing import Protocol, TextIO

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from uploader import events
from uploader.remarks import copies_text, remark, size_text

BAR_INTERVAL = 0.1
LINE_INTERVAL = 5.0  # ours: a log wants to see that it goes on, not every percent

PHASES: dict[events.Phase, str] = {
    "hashing": "hashing",
    "sending": "sending",
    "waiting": "waiting for the broker",
    "reading": "reading",
}


REMARKABLE = (
    events.Retrying,
    events.Reminted,
    events.Resumed,
    events.NotResumed,
    events.Aborted,
    events.Kept,
)


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

    def _print(self, event: events.Event) -> None:
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


class RateColumn(ProgressColumn):
    """MiB/s, as everywhere in here; rich's own column counts in millions."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed / (1 << 20):.1f} MiB/s" if speed else "", style="progress.data.speed")


class BarView:
    """A progress bar with bytes, rate and time left. Remarks appear above it."""

    interval = BAR_INTERVAL

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.fields[file]}", markup=False),
            TextColumn("{task.description}", style="dim"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[copies]}", markup=False),
            DownloadColumn(binary_units=True),
            RateColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            auto_refresh=False,
            expand=True,
        )
        self._shown: tuple[TaskID, events.Meter] | None = None
        self._phase: events.Phase | None = None
        self._done_bytes = 0

    def on_event(self, event: events.Event) -> None:
        if isinstance(event, REMARKABLE) and (line := remark(event)):
            self._console.print(line, style="yellow", markup=False, highlight=False)

    def on_meter(self, meter: events.Meter) -> None:
        task = self._progress.add_task(
            PHASES[meter.phase], total=meter.total_bytes, file=_shortened(meter.file), copies=""
        )
        self._shown = (task, meter)

    def tick(self) -> None:
        if self._shown is None:
            return
        task, meter = self._shown
        if meter.phase != self._phase or meter.done_bytes < self._done_bytes:  # sent again from the start
            self._phase = meter.phase
            self._progress.reset(task, description=PHASES[meter.phase], completed=meter.done_bytes)
        self._done_bytes = meter.done_bytes
        self._progress.update(task, completed=meter.done_bytes, total=meter.total_bytes, copies=copies_text(meter))
        self._progress.refresh()

    def opened(self) -> AbstractContextManager[object]:
        return self._progress


def choose_view(*, is_json: bool) -> View:
    """By what was asked and by what stderr is."""
    if is_json:
        return JsonView(sys.stdout)
    console = Console(stderr=True)
    return BarView(console) if console.is_terminal else PlainView(sys.stderr)


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


def _shortened(name: str, width: int = 32) -> str:
    return name if len(name) <= width else f"{name[: width // 2]}…{name[-width // 2 + 1 :]}"
