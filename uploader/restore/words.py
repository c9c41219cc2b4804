"""A restored tree as a person reads of it: what failed first, then what is there."""

import os
from collections.abc import Iterator

from uploader.remarks import size_text
from uploader.restore.events import TreeRestored
from uploader.restore.result import Failure, TreeDownload
from uploader.tree.words import shown


def failure_lines(result: TreeDownload) -> Iterator[str]:
    """Why files are missing, and what else is to be known before one is content."""
    yield from (f"error: {_failure(each)}" for each in result.failures)
    if (more := result.failed_files - len(result.failures)) > 0:
        yield f"error: and {more:,} more; --json tells each"
    if result.stopped is not None:
        yield f"error: stopped: {result.stopped.message}"
    if result.is_empty and result.stopped is None:
        yield "error: there is nothing to restore: no such batch of this key, or an empty one"
    if result.absent:
        counts = ", ".join(f"{number:,} {state}" for state, number in sorted(result.absent.items()))
        yield f"warning: nothing to read of {counts}"


def summary_line(result: TreeDownload) -> str:
    counts = [f"{_files(result.saved_files)} saved ({size_text(result.saved_bytes)})"]
    for number, what in (
        (result.skipped_files, "were there"),
        (result.older_files, "are older versions"),
        (result.failed_files, "failed"),
    ):
        if number:
            counts.append(f"{number:,} {what}")
    return f"{shown(os.fsencode(result.directory))}: {', '.join(counts)}, {result.elapsed.total_seconds():.1f} s"


def finished_event(result: TreeDownload) -> TreeRestored:
    return TreeRestored(
        file=shown(os.fsencode(result.directory)),
        exit_code=result.exit_code,
        saved_files=result.saved_files,
        saved_bytes=result.saved_bytes,
        skipped_files=result.skipped_files,
        older_files=result.older_files,
        failed_files=result.failed_files,
        absent=result.absent,
        seconds=result.elapsed.total_seconds(),
        stopped=None if result.stopped is None else result.stopped.code,
    )


def _failure(failure: Failure) -> str:
    """Whose message may name the file already."""
    return f"{shown(failure.path)}: {failure.error.message} [{failure.error.code}]"


def _files(number: int) -> str:
    return f"{number:,} {'file' if number == 1 else 'files'}"
