"""The words of the views of trees, the same on a terminal and in a log."""

import math
from collections.abc import Iterator, Sequence

from uploader import events
from uploader.remarks import size_text
from uploader.views.reading import Reading

MIB = 1 << 20
MAX_ROOTS = 3


def safe(text: str) -> str:
    r"""Nothing that moves a cursor. Names come as `words.shown` makes them, and stay as they are; a store's words
    might hold anything."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape", "replace").decode() for each in text)


def below(path: str, roots: Sequence[str]) -> str:
    """A path as it is kept with its session: from the name of its root on."""
    for root in roots:
        if path == root or path.startswith(f"{root.rstrip('/')}/"):
            return path[root.rfind("/") + 1 :]
    return path


def files_text(count: int) -> str:
    return f"{count:,} {'file' if count == 1 else 'files'}"


def pair_text(done: int, whole: int) -> str:
    """`3.1 of 7.6 GiB`: both in the unit of the larger one."""
    unit, size = "B", 1
    for name in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if whole < size * 1024:
            break
        unit, size = name, size * 1024
    return f"{done:,} of {whole:,} B" if unit == "B" else f"{done / size:,.1f} of {whole / size:,.1f} {unit}"


def percent_text(done: int, whole: int) -> str:
    """Rounded down, so that the hundredth is not said before it is there."""
    if not whole:
        return ""
    tenths = 1000 * done // whole
    return f"{tenths / 10:.1f} %" if 0 < tenths < 100 else f"{tenths // 10} %"


def files_rate_text(per_second: float) -> str:
    return f"{per_second:,.0f} files/s" if per_second >= 10 or not per_second else f"{per_second:.1f} files/s"


def bytes_rate_text(per_second: float) -> str:
    return f"{per_second / MIB:,.1f} MiB/s"


def left_text(seconds: float | None, *, is_least: bool) -> str:
    """How long it takes yet, in steps that a person counts in, so that it does not flicker."""
    if seconds is None:
        return ""
    if is_least:
        return f"over {span_text(seconds)} left" if seconds >= 10 else ""
    return f"{span_text(seconds)} left" if seconds >= 5 else "a few seconds left"


def span_text(seconds: float) -> str:
    if seconds < 60:
        return f"{_stepped(seconds, 5)} s"
    if seconds < 600:
        minutes, rest = divmod(_stepped(seconds, 10), 60)
        return f"{minutes} min {rest:02} s" if rest else f"{minutes} min"
    if seconds < 5400:
        return f"{_stepped(seconds, 60) // 60} min"
    if seconds < 2 * 86_400:
        hours, rest = divmod(_stepped(seconds, 600) // 60, 60)
        return f"{hours} h {rest:02} min"
    return f"{seconds / 86_400:.0f} days"


def clock_text(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _stepped(seconds: float, step: int) -> int:
    return max(step, step * math.ceil(seconds / step - 0.5))


def header(event: events.TreeBegan) -> Iterator[tuple[str, str]]:
    """What goes where, and how: a label and what it is about."""
    yield "upload", f"{_listed(event.roots)} → {', '.join(event.destinations) or 'default'}"
    batch = f", batch {event.batch}" if event.batch else ""
    yield "broker", event.broker + batch
    yield "manifest", event.manifest
    yield "priority", event.nice or "as any other program"
    yield "done when", WAITS.get(event.wait, event.wait)


WAITS = {
    "none": "the store has every file",
    "verified": "every file is verified",
    "processed": "every file is processed",
}


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - MAX_ROOTS
    return ", ".join(names[:MAX_ROOTS]) + (f" and {rest} more" if rest > 0 else "")


def speed_texts(reading: Reading) -> list[str]:
    """Rates, what is under way, and how long it takes yet."""
    meter = reading.meter
    return [
        files_rate_text(reading.files_per_second),
        bytes_rate_text(reading.bytes_per_second),
        f"{meter.concurrency} of {meter.limit} requests",
        left_text(reading.eta_seconds, is_least=reading.is_least),
    ]


def aside_texts(reading: Reading) -> list[str]:
    """What is not always there: empty where there is nothing to say."""
    meter = reading.meter
    return [
        f"{reading.behind_files:,} sent, not verified yet" if reading.behind_files else "",
        f"{meter.unchanged_files:,} unchanged" if meter.unchanged_files else "",
        f"{meter.skipped_files:,} skipped" if meter.skipped_files else "",
        f"{meter.vanished_files:,} vanished" if meter.vanished_files else "",
        f"{size_text(meter.resent_bytes)} sent again" if meter.resent_bytes else "",
    ]


def slowed_text(event: events.TreeSlowed | events.TreeRetrying) -> str:
    if isinstance(event, events.TreeRetrying):
        return f"{event.what} again in {event.delay_seconds:.1f} s, because {safe(event.why)}"
    return f"slowed down to {event.concurrency} at a time: {safe(event.why)}"


def failure_text(event: events.FileFailed) -> str:
    return f"{safe(event.path)}: {reason_text(event)}"


def reason_text(event: events.FileFailed) -> str:
    return f"{safe(' '.join(event.message.split()))} [{safe(event.code)}]"


def scanned_text(event: events.TreeScanned) -> str:
    asides = [
        f"{event.unchanged:,} unchanged" if event.unchanged else "",
        f"{event.skipped:,} skipped" if event.skipped else "",
        f"{event.vanished:,} vanished" if event.vanished else "",
    ]
    head = f"{files_text(event.files)}, {size_text(event.size_bytes)} found in {event.seconds:.1f} s"
    return ", ".join([head, *filter(None, asides)])
