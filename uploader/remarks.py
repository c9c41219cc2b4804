"""Events, sizes and rates as words for a person."""

from uploader import events


def copies_text(meter: events.Meter) -> str:
    """How far each copy is: `eu verified, us 43 %`."""
    return ", ".join(f"{copy.label} {_copy_text(copy)}" for copy in meter.copies)


def _copy_text(copy: events.Meter) -> str:
    is_moving = copy.state == "sending" and copy.done_bytes < copy.total_bytes
    return f"{100 * copy.done_bytes // copy.total_bytes} %" if is_moving else copy.state


def remark(event: events.Event) -> str | None:
    """An event as a line of text; the outcome has its own line elsewhere."""
    text = _remark(event)
    destination = getattr(event, "destination", None)
    return f"{event.file}: {f'{destination}: ' if destination else ''}{text}" if text else None


def _remark(event: events.Event) -> str:
    text = ""
    match event:
        case events.Hashed():
            text = f"{event.algorithm} in {event.seconds:.2f} s"
        case events.Minted():
            replay = ", granted before" if event.is_replay else ""
            copies = f" to {', '.join(event.copies)}" if event.copies else ""
            text = f"session {event.session_id} for {size_text(event.size_bytes)}{copies}{replay}"
        case events.Resumed():
            text = f"resumed: {_there(event)}, session {event.session_id}"
        case events.NotResumed():
            text = f"not resumed: session {event.session_id} is of no use, because {event.why}"
        case events.Kept():
            text = f"session {event.session_id} is kept ({event.why}); run the same command again to go on"
        case events.Reminted():
            text = f"new signed request, because {event.why}"
        case events.Retrying():
            text = f"{event.what} again in {event.delay_seconds:.1f} s, because {event.why}"
        case events.Sent():
            parts = f" in {event.parts} parts" if event.parts else ""
            text = f"sent{parts} in {event.seconds:.2f} s, {rate_text(event.size_bytes, event.seconds)}"
        case events.StateSeen():
            text = event.state
        case events.Aborted():
            text = f"session {event.session_id} aborted ({event.why})"
    return text


def _there(event: events.Resumed) -> str:
    if event.copies:
        there = sum(state == "verified" for state in event.copies.values())
        return f"{there} of {len(event.copies)} copies were there"
    if event.part_count:
        return f"{event.stored_parts} of {event.part_count} parts were there"
    if not event.size_bytes:
        return "all of it was there"
    if not event.stored_bytes:
        return "the store is asked how much is there"
    return f"{size_text(event.stored_bytes)} of {size_text(event.size_bytes)} were there"


def size_text(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} TiB"


def rate_text(size_bytes: int, seconds: float) -> str:
    return f"{size_bytes / (1 << 20) / max(seconds, 1e-6):.1f} MiB/s"
