"""The `uploader` command."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import click

from uploader import errors, events
from uploader.download import DownloadResult
from uploader.orders import UploadResult
from uploader.progress import JsonView, View, choose_view, ticking
from uploader.report import (
    download_line,
    downloaded_event,
    finished_event,
    missing_lines,
    outcome_line,
    status_json,
    status_text,
)
from uploader.resume import Notes, state_directory
from uploader.sdk import DEFAULT_JOBS, MAX_JOBS, Uploader

T = TypeVar("T")

EXIT_CODES = """\b
Exit codes:
  0    every file reached the state that was asked for
  1    the upload failed or was rejected; the file could not be read or changed
  2    wrong usage
  3    the broker refuses: key, role, or a declaration that it does not accept
  4    broker or store unreachable, or the state did not come in time
  5    every file has as many copies as its session needs, but one is missing; the same command sends it alone
  130  interrupted; the session was aborted, or kept for the same command to go on (sent in parts, or to several)
"""


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Upload files straight into a bucket, through an upload broker.

    All it knows is the broker's URL (BROKER_URL) and a key (BROKER_API_KEY, or --key-file).

    \b
    Example:
      export BROKER_URL=http://127.0.0.1:8000 BROKER_API_KEY=ub_…
      uploader put report.csv --wait processed
    """


def _broker_options(command: Callable[..., None]) -> Callable[..., None]:
    url = click.option("--broker", envvar="BROKER_URL", required=True, metavar="URL", help="Or BROKER_URL.")
    key = click.option(
        "--key-file",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="File that holds the key. Or BROKER_API_KEY. Never an argument: everybody can see those.",
    )
    return url(key(command))


def _pairs(_: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE", param=parameter)
    return {name: value for name, _, value in (v.partition("=") for v in values)}


@main.command(epilog=EXIT_CODES)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_broker_options
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
    help="Declared and proved; the file is read once more for it. auto: sha256 up to 64 MiB, nothing above; for "
    "several destinations sha256 and md5, since every store has to prove one.",
)
@click.option(
    "--strategy",
    type=click.Choice(["auto", "put", "multipart"]),
    default="auto",
    show_default=True,
    help="One request or parts; auto leaves it to the broker.",
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
    """Upload FILE. Interrupted while it was sent in parts, the same command goes on with the parts that are missing;
    sent to several destinations, with the copies that are missing.

    \b
    Example:
      uploader put report.csv --metadata case=17 --wait processed
      uploader put film.mkv --destination eu --destination us
    """
    view = choose_view(is_json=is_json)
    uploader = _uploader(broker, key_file, None if no_resume else _notes())

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

    result = _run(work(), view, file.name)
    if not is_json:
        for line in missing_lines(result):
            click.echo(f"warning: {file.name}: {line}", err=True)
        click.echo(outcome_line(result))
    if result.missing:
        sys.exit(errors.EXIT_COPY_MISSING)


def _id(_: click.Context, parameter: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", value):  # it becomes part of a path
        raise click.BadParameter(f"{value!r} is no session id", param=parameter)
    return value


def _ids(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_id(context, parameter, value) for value in values)


@main.command(epilog=EXIT_CODES)
@click.argument("session_ids", nargs=-1, required=True, callback=_ids, metavar="SESSION_ID...")
@_broker_options
@click.option("--json", "is_json", is_flag=True, help="One JSON object a session and line.")
def status(session_ids: tuple[str, ...], broker: str, key_file: Path | None, is_json: bool) -> None:
    """Print state and timeline of sessions."""
    uploader = _uploader(broker, key_file)
    show = status_json if is_json else status_text

    async def work() -> None:
        async with uploader:
            for session_id in session_ids:
                click.echo(show(await uploader.status(session_id)))

    _run(work(), choose_view(is_json=is_json), "status")


@main.command(epilog=EXIT_CODES)
@click.argument("session_id", callback=_id)
@_broker_options
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The declared file name by default."
)
@click.option(
    "--destination", metavar="NAME", help="The copy to read. Without it: any that is verified and can be read."
)
@click.option("--replace", is_flag=True, help="Replace a file that is there.")
@click.option("--json", "is_json", is_flag=True, help="One JSON event a line on stdout.")
def get(
    session_id: str,
    broker: str,
    key_file: Path | None,
    output: Path | None,
    destination: str | None,
    replace: bool,
    is_json: bool,
) -> None:
    """Download what was verified of a session. A broken download is continued.

    \b
    Example:
      uploader get SESSION_ID -o report.csv
    """
    view = choose_view(is_json=is_json)
    uploader = _uploader(broker, key_file)

    async def work() -> DownloadResult:
        async with uploader, ticking(view):
            return await uploader.get(session_id, output, destination=destination, replace=replace, observer=view)

    result = _run(work(), view, session_id)
    view.on_event(downloaded_event(result))
    if not is_json:
        click.echo(download_line(result))


def _notes() -> Notes | None:
    try:
        return Notes(state_directory(os.environ))
    except RuntimeError:  # a user without a home directory
        return None


def _uploader(broker: str, key_file: Path | None, notes: Notes | None = None) -> Uploader:
    key = key_file.read_text().strip() if key_file else os.environ.get("BROKER_API_KEY", "").strip()
    if not key:
        raise click.UsageError("no key: set BROKER_API_KEY or give --key-file")
    if not key.isascii() or not key.isprintable():
        raise click.UsageError("the key is not one line of printable ASCII")
    try:
        return Uploader(broker, key, notes=notes)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc


def _run(work: Coroutine[Any, Any, T], view: View, name: str) -> T:
    """The loop, the signals, and the one table from errors to exit codes."""
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_interruptible(work))
    except errors.UploaderError as exc:
        view.on_event(
            events.Failed(
                file=name, code=exc.code, message=exc.message, exit_code=exc.exit_code, session_id=exc.session_id
            )
        )
        if not isinstance(view, JsonView):
            click.echo(f"error: {name}: {exc.message}", err=True)
        sys.exit(exc.exit_code)
    except asyncio.CancelledError:
        view.on_event(
            events.Failed(file=name, code="interrupted", message="interrupted", exit_code=errors.EXIT_INTERRUPTED)
        )
        if not isinstance(view, JsonView):
            click.echo("interrupted", err=True)
        sys.exit(errors.EXIT_INTERRUPTED)


async def _interruptible(work: Awaitable[T]) -> T:
    """SIGINT and SIGTERM cancel the work once, which aborts or keeps its session; the second one ends it at once."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)

    def interrupt() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    return await task


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if find_spec("uvloop") is None:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    return factory


if __name__ == "__main__":
    main()
