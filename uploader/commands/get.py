"""`uploader get`."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from uploader import errors, events
from uploader.commands.options import broker_options, checked_ids, uploader_of
from uploader.commands.running import run
from uploader.download import DownloadResult
from uploader.progress import JsonView, View, choose_view, ticking
from uploader.report import download_line, downloaded_event
from uploader.restore.words import failure_lines, finished_event, summary_line
from uploader.sdk import GET_JOBS, MAX_THREADS, Uploader
from uploader.tree.words import shown

EXIT_CODES = """\b
Exit codes:
  0    every file that was verified is there
  1    some could not be saved, or the store's bytes are not what was verified; or there was nothing
  2    wrong usage
  3    the broker refuses: key, role, no such session
  4    broker or store unreachable; the same command goes on
  130  interrupted; the same command goes on
"""
GOING_ON = "what is saved stays, and the same command goes on"


@click.command(epilog=EXIT_CODES)
@click.argument("session_ids", nargs=-1, callback=checked_ids, metavar="[SESSION_ID]...")
@broker_options
@click.option("--batch", help="Restore the tree of all that was verified with this label.")
@click.option("--owner", help="With --batch: only what was minted with this label.")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Restore the tree that put has noted there.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Of one session a file, or a directory that is there; of several, and of a tree, the directory. The declared "
    "file name by default.",
)
@click.option(
    "--destination", metavar="NAME", help="The copy to read. Without it: any that is verified and can be read."
)
@click.option("--replace", is_flag=True, help="Fetch again and replace what is there.")
@click.option("--no-attributes", is_flag=True, help="Do not restore modification time and permissions.")
@click.option(
    "--jobs",
    type=click.IntRange(1, MAX_THREADS),
    default=GET_JOBS,
    show_default=True,
    help="Files of a tree at a time.",
)
@click.option("--json", "is_json", is_flag=True, help="One JSON event a line on stdout.")
def get(
    session_ids: tuple[str, ...],
    broker: str,
    key_file: Path | None,
    batch: str | None,
    owner: str | None,
    manifest: Path | None,
    output: Path | None,
    destination: str | None,
    replace: bool,
    no_attributes: bool,
    jobs: int,
    is_json: bool,
) -> None:
    """Download what was verified: of sessions, or a whole tree. What broke off is continued.

    Modification time and permissions come back with a file. A tree is restored below the directory, through no
    symbolic link; a file that is there with the size and modification time of the object, or its digest, is passed
    over.

    \b
    Example:
      uploader get SESSION_ID -o report.csv
      uploader get --batch 2026-11-20 -o restored
    """
    if sum((bool(session_ids), batch is not None, manifest is not None)) != 1:
        raise click.UsageError("name sessions, or --batch, or --manifest")
    if owner is not None and batch is None:
        raise click.UsageError("--owner goes with --batch")
    if output is None and not session_ids:
        raise click.UsageError("say --output: the directory to restore into")
    view = choose_view(is_json=is_json)
    uploader = uploader_of(broker, key_file)
    how: dict[str, Any] = {"destination": destination, "replace": replace, "attributes": not no_attributes}
    if session_ids:
        _sessions(uploader, view, session_ids, output, how)
    else:
        assert output is not None  # noqa: S101 - see above
        _tree(uploader, view, output, {"batch": batch, "owner": owner, "manifest": manifest, "jobs": jobs} | how)


def _sessions(
    uploader: Uploader, view: View, session_ids: tuple[str, ...], output: Path | None, how: dict[str, Any]
) -> None:
    if len(session_ids) > 1 and output is not None:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise click.UsageError(f"{shown(os.fsencode(output))}: {exc.strerror}") from exc
    codes: set[int] = set()

    async def one(session_id: str) -> None:
        result = await uploader.get(session_id, output, observer=view, **how)
        _tell(view, result)

    async def work() -> None:
        async with uploader, ticking(view):
            for session_id in session_ids:
                try:
                    await one(session_id)
                except errors.UploaderError as exc:
                    if len(session_ids) == 1 or isinstance(exc, errors.Unreachable):
                        raise
                    _tell_failure(view, session_id, exc)
                    codes.add(exc.exit_code)

    run(work(), view, session_ids[0] if len(session_ids) == 1 else "get", going_on=GOING_ON)
    if codes:
        sys.exit(codes.pop() if len(codes) == 1 else errors.EXIT_FAILED)


def _tree(uploader: Uploader, view: View, output: Path, what: dict[str, Any]) -> None:
    async def work() -> Any:
        async with uploader, ticking(view):
            return await uploader.get_tree(output, observer=view, **what)

    result = run(work(), view, shown(os.fsencode(output)), going_on=GOING_ON)
    view.on_event(finished_event(result))
    if not isinstance(view, JsonView):
        for line in failure_lines(result):
            click.echo(line, err=True)
        click.echo(summary_line(result))
    sys.exit(result.exit_code)


def _tell(view: View, result: DownloadResult) -> None:
    view.on_event(downloaded_event(result))
    if not isinstance(view, JsonView):
        click.echo(download_line(result))


def _tell_failure(view: View, session_id: str, exc: errors.UploaderError) -> None:
    view.on_event(
        events.Failed(
            file=session_id, code=exc.code, message=exc.message, exit_code=exc.exit_code, session_id=session_id
        )
    )
    if not isinstance(view, JsonView):
        click.echo(f"error: {session_id}: {exc.message}", err=True)
