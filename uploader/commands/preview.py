"""`uploader put --dry-run`: what a put would do, in words or as JSON lines."""

import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
import msgspec

from uploader.events import TreeEvent
from uploader.remarks import size_text
from uploader.tree.filters import Filters
from uploader.tree.identity import Identity
from uploader.tree.preview import TO_SEND, Foreseen, Preview, Verdict
from uploader.tree.reader import Reader
from uploader.tree.scan import PassedOver
from uploader.tree.words import shown

SHOWN_SKIPPED = 10  # ours: of each reason


class FilePreviewed(TreeEvent, frozen=True, kw_only=True, tag="file.previewed"):
    """What would become of a file; those that are verified are counted only."""

    path: str
    verdict: Verdict
    size_bytes: int
    code: str | None = None
    message: str | None = None


class TreePreviewed(TreeEvent, frozen=True, kw_only=True, omit_defaults=False, tag="tree.previewed"):
    """Files and bytes by verdict; `to_send` is `new`, `changed` and `unfinished`.

    :ivar manifest: of an earlier put; null if there is none.
    """

    roots: list[str]
    broker: str
    destinations: list[str]
    batch: str
    manifest: str | None
    to_send_files: int
    to_send_bytes: int
    files: dict[Verdict, int]
    size_bytes: dict[Verdict, int]
    skipped: dict[str, int]


def preview(identity: Identity, manifest: Path, filters: Filters, *, follows_symlinks: bool, is_json: bool) -> None:
    """Walk and tell. Nothing is written, nobody is asked.

    :raises UploaderError: a root cannot be walked, or the manifest not be read.
    """
    is_known = manifest.exists() and manifest.stat().st_size > 0
    with Reader.open(manifest) if is_known else nullcontext() as reader:
        seen = Preview(roots=identity.roots, filters=filters, follows_symlinks=follows_symlinks, reader=reader)
        examples = _told(seen) if is_json else _remembered(seen)
    total = _total(identity, manifest if is_known else None, seen)
    if is_json:
        click.echo(msgspec.json.encode(total))
    else:
        click.echo("\n".join(_lines(total, examples)))


def _told(seen: Preview) -> list[Foreseen]:
    """As JSON lines; nothing is left to say of single files."""
    for each in seen:
        if each.verdict is not Verdict.VERIFIED:
            click.echo(msgspec.json.encode(_event(each)))
    return []


def _remembered(seen: Preview) -> list[Foreseen]:
    """The first few that are passed over, for each reason."""
    return [
        each for each in seen if isinstance(each.entry, PassedOver) and seen.reasons[each.entry.code] <= SHOWN_SKIPPED
    ]


def _event(each: Foreseen) -> FilePreviewed:
    said: dict[str, Any] = {"path": shown(each.absolute), "verdict": each.verdict, "size_bytes": each.size_bytes}
    if isinstance(each.entry, PassedOver):
        return FilePreviewed(code=each.entry.code, message=each.entry.message, **said)
    if each.known is not None and each.verdict is Verdict.FAILED:
        return FilePreviewed(code=each.known.error_code, message=each.known.error_message, **said)
    return FilePreviewed(**said)


def _total(identity: Identity, manifest: Path | None, seen: Preview) -> TreePreviewed:
    return TreePreviewed(
        roots=[shown(root) for root in identity.roots],
        broker=identity.broker,
        destinations=list(identity.destinations),
        batch=identity.batch,
        manifest=None if manifest is None else str(manifest),
        to_send_files=sum(seen.files[verdict] for verdict in TO_SEND),
        to_send_bytes=sum(seen.size_bytes[verdict] for verdict in TO_SEND),
        files={verdict: seen.files[verdict] for verdict in Verdict},
        size_bytes={verdict: seen.size_bytes[verdict] for verdict in Verdict},
        skipped=dict(sorted(seen.reasons.items())),
    )


def _lines(total: TreePreviewed, examples: Sequence[Foreseen]) -> Iterator[str]:
    yield from _skipped_lines(total, examples)
    destinations = ", ".join(total.destinations) or "the default destination"
    batch = f", batch {shown(os.fsencode(total.batch))}" if total.batch else ""
    yield f"dry run: nothing is sent and nothing is written; to {destinations} by {total.broker}{batch}"
    yield from (f"  {root}" for root in total.roots)
    yield f"  against {total.manifest}" if total.manifest else "  no put has been here before: everything is new"
    yield _count_line("to send", total.to_send_files, total.to_send_bytes)
    for verdict in TO_SEND:
        if total.files[verdict] and total.manifest:
            yield _count_line(f"  {verdict}", total.files[verdict], total.size_bytes[verdict])
    for verdict, what in ((Verdict.VERIFIED, "as they are"), (Verdict.FAILED, "until `uploader retry`")):
        if total.files[verdict]:
            yield f"{_count_line(verdict, total.files[verdict], total.size_bytes[verdict])}, {what}"
    if total.skipped:
        yield f"  {'skipped':<14} {sum(total.skipped.values()):>12,} {_reasons_text(total.skipped)}"


def _skipped_lines(total: TreePreviewed, examples: Sequence[Foreseen]) -> Iterator[str]:
    for each in examples:
        if isinstance(each.entry, PassedOver):
            yield f"skipped: {shown(each.absolute)}: {each.entry.message} [{each.entry.code}]"
    for code, count in total.skipped.items():
        if count > SHOWN_SKIPPED:
            yield f"skipped: and {count - SHOWN_SKIPPED:,} more [{code}]"


def _count_line(name: str, files: int, size_bytes: int) -> str:
    return f"  {name:<14} {files:>12,} {'file' if files == 1 else 'files'}, {size_text(size_bytes)}"


def _reasons_text(skipped: dict[str, int]) -> str:
    return f"({', '.join(f'{count:,} {code}' for code, count in skipped.items())})"
