"""One file on a terminal: a bar with bytes, rate and time left."""

from contextlib import AbstractContextManager

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
from uploader.progress import PHASES
from uploader.remarks import copies_text, remark

BAR_INTERVAL = 0.1

REMARKABLE = (
    events.Retrying,
    events.Reminted,
    events.Resumed,
    events.NotResumed,
    events.Aborted,
    events.Kept,
)


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


def _shortened(name: str, width: int = 32) -> str:
    return name if len(name) <= width else f"{name[: width // 2]}…{name[-width // 2 + 1 :]}"
