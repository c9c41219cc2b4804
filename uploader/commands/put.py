"""`uploader put`."""

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from uploader import errors
from uploader.commands.options import EXIT_CODES, broker_options, uploader_of
from uploader.commands.running import run
from uploader.commands.trees import put_trees
from uploader.orders import UploadResult
from uploader.progress import choose_view, ticking
from uploader.report import finished_event, missing_lines, outcome_line
from uploader.resume import Notes, state_directory
from uploader.sdk import DEFAULT_JOBS, MAX_JOBS
from uploader.transfer.order import TreeOrder


def _pairs(_: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE", param=parameter)
    return {name: value for name, _, value in (v.partition("=") for v in values)}


@click.command(epilog=EXIT_CODES)
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@broker_options
@click.option(
    "--destination",
    "destinations",
    multiple=True,
    metavar="NAME",
    help="Repeat for a copy in each: one reading of the file for all. Without it: default.",
)
@click.option("--content-type", help="Guessed from the name by default.")
@click.option("--filename", help="Name to declare instead of the file's own.")
@click.option("--metadata", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="Kept with the session.")
@click.option("--owner", help="Your application's label.")
@click.option("--batch", help="Your application's label.")
@click.option(
    "--checksum",
    type=click.Choice(["auto", "sha256", "md5", "none"]),
    default="auto",
    show_default=True,
    help="Declared and proved; the file is read once more for it. auto: sha256 up to 1 MiB; above, the MD5 of what "
    "leaves is compared with the store's; for several destinations sha256 and md5, of which every store has to prove "
    "the same one. none: neither declared nor compared.",
)
@click.option(
    "--strategy",
    type=click.Choice(["auto", "put", "multipart", "resumable"]),
    default="auto",
    show_default=True,
    help="One request, parts side by side, or piece after piece; auto leaves it to the broker.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, MAX_JOBS),
    default=DEFAULT_JOBS,
    show_default=True,
    help="Parts under way at a time, for each copy.",
)
@click.option(
    "--no-resume",
    is_flag=True,
    help="Neither go on with an interrupted upload nor leave a note of this one under $XDG_STATE_HOME.",
)
@click.option(
    "--wait",
    type=click.Choice(["none", "verified", "processed"]),
    default="verified",
    show_default=True,
    help="none: the store has it. verified: the broker has looked. processed: a consumer is done.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for that state after the last byte.",
)
@click.option("--keep-session", is_flag=True, help="Do not abort the session on failure or Ctrl-C.")
@click.option("--json", "is_json", is_flag=True, help="One JSON event a line on stdout.")
def put(
    file: Path,
    broker: str,
    key_file: Path | None,
    destinations: tuple[str, ...],
    content_type: str | None,
    filename: str | None,
    metadata: dict[str, str],
    owner: str | None,
    batch: str | None,
    checksum: Any,
    strategy: Any,
    jobs: int,
    no_resume: bool,
    wait: Any,
    timeout: float,
    keep_session: bool,
    is_json: bool,
) -> None:
    """Upload FILE. Interrupted while it was sent in parts or pieces, the same command goes on with what is missing;
    sent to several destinations, with the copies that are missing.

    \b
    Example:
      uploader put report.csv --metadata case=17 --wait processed
      uploader put film.mkv --destination eu --destination us
    """
    uploader = uploader_of(broker, key_file, None if no_resume else _notes())
    if file.is_dir():
        order = TreeOrder(
            destinations=destinations,
            batch=batch,
            owner=owner,
            content_type=content_type,
            metadata=metadata,
            checksum=checksum,
            strategy=strategy,
            wait=wait,
            timeout=timedelta(seconds=timeout),
        )
        put_trees(uploader, [file], order, is_json=is_json)
        return
    view = choose_view(is_json=is_json)

    async def work() -> UploadResult:
        async with uploader, ticking(view):
            result = await uploader.put(
                file,
                filename=filename,
                content_type=content_type,
                destinations=destinations,
                checksum=checksum,
                strategy=strategy,
                jobs=jobs,
                metadata=metadata,
                owner=owner,
                batch=batch,
                wait=wait,
                timeout=timedelta(seconds=timeout),
                keep_session=keep_session,
                observer=view,
            )
        view.on_event(finished_event(file.name, result))
        return result

    result = run(work(), view, file.name)
    if not is_json:
        for line in missing_lines(result):
            click.echo(f"warning: {file.name}: {line}", err=True)
        click.echo(outcome_line(result))
    if result.missing:
        sys.exit(errors.EXIT_COPY_MISSING)


def _notes() -> Notes | None:
    try:
        return Notes(state_directory(os.environ))
    except RuntimeError:  # a user without a home directory
        return None
