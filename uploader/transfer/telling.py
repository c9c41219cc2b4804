"""A run as events: how it begins and how it ended."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from uploader import events, priority
from uploader.transfer.order import TreeOrder, TreeResult
from uploader.tree.rows import About, Row
from uploader.tree.words import shown

WORTH_SAYING = 2  # ours: one call that fails says nothing yet

Notify = Callable[[str, str, timedelta, int], None]


def notifying(observer: events.TreeObserver) -> Notify:
    """Tells that the broker is asked again."""

    def notify(what: str, why: str, pause: timedelta, attempt: int) -> None:
        if attempt >= WORTH_SAYING:
            pause_seconds = round(pause.total_seconds(), 3)
            observer.on_event(events.TreeRetrying(what=what, why=why, delay_seconds=pause_seconds, attempt=attempt))

    return notify


def slowing(observer: events.TreeObserver) -> Callable[[str, int], None]:
    """Tells that there are fewer requests at a time."""
    return lambda why, limit: observer.on_event(events.TreeSlowed(why=why, concurrency=limit))


def began(about: About, path: Path, order: TreeOrder) -> events.TreeBegan:
    return events.TreeBegan(
        roots=[shown(root) for root in about.roots],
        manifest=str(path),
        broker=about.broker,
        destinations=list(about.destinations) or ["default"],
        batch=about.batch,
        nice=str(priority.current()),
        mode=order.mode,
        wait=order.wait,
        jobs=order.jobs,
    )


def finished(result: TreeResult, exit_code: int) -> events.TreeFinished:
    return events.TreeFinished(
        exit_code=exit_code,
        manifest=str(result.manifest),
        seconds=result.elapsed.total_seconds(),
        sending_seconds=result.sending.total_seconds(),
        unchanged_files=result.unchanged_files,
        sent_files=result.sent_files,
        sent_bytes=result.sent_bytes,
        resent_bytes=result.resent_bytes,
        verified_files=result.verified_files,
        verified_bytes=result.verified_bytes,
        unsettled_files=result.unsettled_files,
        pending_files=result.pending_files,
        failed_files=result.failed_files,
        skipped_files=result.skipped_files,
        unread_files=result.unread_files,
        vanished_files=result.vanished_files,
        failures=[_failure(row) for row in result.failures],
    )


def _failure(row: Row) -> events.FileFailed:
    return events.FileFailed(
        path=shown(row.absolute),
        code=row.error_code or "failed",
        message=row.error_message or "",
        session_id=row.session_id,
    )
