"""One frame of the live view: lines for a terminal of this width and height."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.text import Text

from uploader import events
from uploader.views.pieces import Bar, Glyphs, bar_lines, cut, flow, shortened
from uploader.views.reading import Reading, Share
from uploader.views.wording import (
    aside_texts,
    below,
    pair_text,
    percent_text,
    reason_text,
    safe,
    slowed_text,
    speed_texts,
)

MAX_FAILURES = 4  # ours: of those the last; the summary and the manifest have all
MAX_LARGE = 8  # ours: the largest; who reads more at four frames a second?
MIN_LARGE = 2
MAX_NAME = 44


@dataclass(slots=True, kw_only=True)
class Troubles:
    """What has gone wrong so far, as much as is shown of it."""

    failures: deque[events.FileFailed] = field(default_factory=lambda: deque(maxlen=MAX_FAILURES))
    slowed: events.TreeSlowed | events.TreeRetrying | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    reading: Reading
    troubles: Troubles
    width: int
    height: int
    glyphs: Glyphs
    roots: Sequence[str] = ()

    def lines(self) -> list[Text]:
        """At most `height`. What gives way first are large files, then failures, then what stands aside."""
        core = [*self._bars(), Text(""), *self._speeds()]
        troubles = list(self._troubles())
        room = self.height - len(core) - len(troubles)
        large = list(self._large(room - 1)) if room > MIN_LARGE else []
        return [cut(line, self.width) for line in [*core, *large, *troubles][: self.height]]

    def _bars(self) -> Iterator[Text]:
        reading = self.reading
        files = f"{reading.done(reading.files):,} of {reading.files.whole:,}"
        size = pair_text(reading.done(reading.bytes), reading.bytes.whole)
        bars = [
            Bar(name="files", share=reading.files, percent=self._percent(reading.files), amount=files),
            Bar(name="bytes", share=reading.bytes, percent=self._percent(reading.bytes), amount=size),
        ]
        return bar_lines(bars, self.width, self.glyphs, name_width=5)

    def _percent(self, share: Share) -> str:
        """Of everything: not before everything is known."""
        return percent_text(self.reading.done(share), share.whole) if self.reading.meter.is_scanned else "scan"

    def _speeds(self) -> Iterator[Text]:
        speeds = speed_texts(self.reading)
        yield from flow((Text(each, "bold") for each in speeds), self.width, self.glyphs)
        yield from flow((Text(each, "dim") for each in aside_texts(self.reading)), self.width, self.glyphs)

    def _large(self, room: int) -> Iterator[Text]:
        """Names and bars of files that take long; those that have no room are counted."""
        meters = sorted(self.reading.meter.large, key=lambda meter: -meter.total_bytes)
        if not meters:
            return
        yield Text("")
        room = min(room, MAX_LARGE + 1)
        shown = meters if len(meters) <= min(room, MAX_LARGE) else meters[: max(0, room - 1)]
        names = [safe(below(meter.file, self.roots)) for meter in shown]
        name_width = min(max(map(cell_len, names), default=0), MAX_NAME, self.width // 3)
        yield from bar_lines(
            [_large_bar(meter, name) for meter, name in zip(shown, names, strict=True)],
            self.width,
            self.glyphs,
            name_width,
        )
        if rest := len(meters) - len(shown):
            yield Text(f"  and {rest:,} more large {'file' if rest == 1 else 'files'}", "dim")

    def _troubles(self) -> Iterator[Text]:
        troubles, failed = self.troubles, self.reading.meter.failed_files
        if troubles.slowed is None and not failed:
            return
        yield Text("")
        if troubles.slowed is not None:
            yield self._line(slowed_text(troubles.slowed), "yellow")
        if failed:
            yield self._line(f"{failed:,} failed", "bold red")
        yield from map(self._failure, troubles.failures)

    def _failure(self, failure: events.FileFailed) -> Text:
        """The reason whole if that is possible: of a name its two ends are enough to know it again."""
        why, room = reason_text(failure), self.width - 6
        path = shortened(safe(below(failure.path, self.roots)), max(room // 3, room - cell_len(why)), self.glyphs)
        return Text.assemble(("    " + path, "red"), "  ", (shortened(why, room - cell_len(path), self.glyphs), "dim"))

    def _line(self, text: str, style: str) -> Text:
        return Text("  " + shortened(text, self.width - 2, self.glyphs), style)


def _large_bar(meter: events.Meter, name: str) -> Bar:
    done, whole = meter.done_bytes, meter.total_bytes
    return Bar(
        name=name,
        share=Share.of(whole, done, 0),
        percent=percent_text(min(done, whole), whole),
        amount=pair_text(done, whole),
    )
