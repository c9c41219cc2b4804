"""How an upload of trees ended, for a person: what failed first, then what there is, then how to go on."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from uploader.errors import BrokerRefused
from uploader.remarks import rate_text, size_text
from uploader.transfer.order import TreeResult
from uploader.tree.errors import ManifestUnusable
from uploader.tree.reader import Reader
from uploader.tree.states import FileState
from uploader.tree.words import failure_line

SENDABLE = frozenset(FileState) - {FileState.SKIPPED, FileState.VANISHED}
AGAIN = "the same command again; what is verified is not sent again"


def trouble_lines(result: TreeResult) -> Iterator[str]:
    """For stderr: what is not as it was ordered, and each reason."""
    for row in result.failures:
        yield f"failed: {failure_line(row)}"
    more = result.failed_files - len(result.failures)
    if more > 0:
        yield f"failed: and {more:,} more; all of them: {_about('failures', result)}"
    if result.unread_files:
        yield f"failed: {_entries(result.unread_files)} could not be read: {_about('failures --all', result)}"
    if result.error is not None:
        yield f"error: {result.error.message}"


def summary_lines(result: TreeResult) -> Iterator[str]:
    """For stdout."""
    if _is_untouched(result):
        yield _untouched_text(result)
    else:
        yield f"verified      {_files(result.verified_files)}, {size_text(result.verified_bytes)}"
        if result.sent_files or result.resent_bytes:
            yield f"sent          {_sent_text(result)}"
    if result.skipped_files:
        yield f"skipped       {_files(result.skipped_files)}; why: {_about('failures --all', result)}"
    if result.vanished_files:
        yield f"vanished      {_files(result.vanished_files)}"
    if result.missing_copies:
        yield f"copy missing  {_files(result.missing_copies)}"
    if result.failed_files:
        yield f"failed        {_files(result.failed_files)}"
    if result.unsettled_files:
        yield f"not looked at {_files(result.unsettled_files)}"
    if result.pending_files:
        yield f"not sent      {_files(result.pending_files)}"
    yield from going_on(result)


def interrupted_text(manifest: Path) -> str:
    """How far it came, and how to go on."""
    try:
        with Reader.open(manifest) as reader:
            counts = reader.counts()
    except ManifestUnusable:  # it did not come so far
        return f"to begin again: {AGAIN}"
    whole = sum(count.files for state, count in counts.items() if state in SENDABLE)
    return f"{counts[FileState.VERIFIED].files:,} of {_files(whole)} verified; to go on: {AGAIN}"


def going_on(result: TreeResult) -> Iterator[str]:
    """What to do about what is left."""
    if result.error is not None or result.pending_files:
        first = "once the broker takes it" if isinstance(result.error, BrokerRefused) else "to go on"
        yield f"{first}: {AGAIN}"
    elif result.unsettled_files:
        yield "sent, not verified yet: the same command looks again, and sends nothing twice"
    elif result.missing_copies:
        yield "to send the missing copies: the same command again"
    if result.failed_files:
        yield f"to send again what failed: {_about('retry', result)}, then the same command"


def _untouched_text(result: TreeResult) -> str:
    if not result.verified_files:
        return "nothing to send: there are no files"
    return f"nothing to send: {_files(result.verified_files)}, {size_text(result.verified_bytes)} are verified"


def _is_untouched(result: TreeResult) -> bool:
    """Nothing was done, and nothing was to be done."""
    is_idle = not (result.sent_files or result.resent_bytes)
    return (
        is_idle and result.is_finished and not result.failed_files and result.verified_files <= result.unchanged_files
    )


def _sent_text(result: TreeResult) -> str:
    seconds = result.sending.total_seconds()
    files_a_second = f"{result.sent_files / seconds:,.0f} files/s" if seconds > 0 else "at once"
    rate = f"{rate_text(result.sent_bytes, seconds)}, {files_a_second}"
    again = f"; {size_text(result.resent_bytes)} more than once" if result.resent_bytes else ""
    return f"{_files(result.sent_files)}, {size_text(result.sent_bytes)} in {seconds:.1f} s ({rate}){again}"


def _files(number: int) -> str:
    return f"{number:,} {'file' if number == 1 else 'files'}"


def _entries(number: int) -> str:
    return "a file or directory" if number == 1 else f"{number:,} files or directories"


def _about(command: str, result: TreeResult) -> str:
    return f"`uploader {command} --manifest {shlex.quote(str(result.manifest))}`"
