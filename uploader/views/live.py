"""An upload of trees on a terminal: a header that stays, and below it what changes."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from rich.console import Console
from rich.text import Text

from uploader import events
from uploader.transfer.meter import TreeMeter
from uploader.views.canvas import Canvas
from uploader.views.frame import Frame, Troubles
from uploader.views.pieces import ASCII, LINES
from uploader.views.reading import Reader
from uploader.views.wording import header, safe

FRAME_INTERVAL = 0.25
MIN_HEIGHT = 12  # ours: in a lower terminal the header may leave at the top
SLOWED_SECONDS = 20.0  # ours: how long the reason is shown


class LiveTreeView:
    """:param clock: seconds, as `time.monotonic`."""

    interval = FRAME_INTERVAL
    wants_files = False

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._canvas = Canvas(console)
        self._clock = clock
        self._glyphs = ASCII if console.options.ascii_only else LINES
        self._troubles = Troubles()
        self._slowed_at = 0.0
        self._roots: list[str] = []
        self._header_lines = 0
        self._reader = Reader(clock)

    def on_event(self, event: events.Event | events.TreeEvent) -> None:
        match event:
            case events.TreeBegan():
                self._reader.wait_for(event.wait)
                self._roots = event.roots
                lines = [*_header_lines(event), Text("")]
                self._header_lines = len(lines)
                self._canvas.say(lines)
            case events.FileFailed():
                self._troubles.failures.append(event)
            case events.TreeSlowed() | events.TreeRetrying():
                self._troubles.slowed = event
                self._slowed_at = self._clock()

    def on_meter(self, meter: events.Meter) -> None:
        """A file on its own: the tree's meter has it."""

    def on_tree(self, meter: TreeMeter) -> None:
        self._reader.attend(meter)
        self.tick()

    def tick(self) -> None:
        reading = self._reader.read()
        if reading is None:
            return
        if self._clock() - self._slowed_at > SLOWED_SECONDS:
            self._troubles.slowed = None
        frame = Frame(
            reading=reading,
            troubles=self._troubles,
            width=self._canvas.width,
            height=max(min(self._canvas.height, MIN_HEIGHT), self._canvas.height - self._header_lines),
            glyphs=self._glyphs,
            roots=self._roots,
        )
        self._canvas.paint(frame.lines())

    def opened(self) -> AbstractContextManager[None]:
        return self._canvas.opened()


def _header_lines(event: events.TreeBegan) -> list[Text]:
    return [Text.assemble((f"  {label:<9} ", "dim"), (safe(text), "bold")) for label, text in header(event)]
