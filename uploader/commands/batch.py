"""`uploader failures | retry | export` over a manifest; `status` has a room of its own."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import update_wrapper
from pathlib import Path
from typing import Any, TextIO

import click
import msgspec

from uploader.commands.options import BrokerOption
from uploader.errors import EXIT_FAILED, UploaderError
from uploader.resume import state_directory
from uploader.sdk import parse_broker_url
from uploader.tree.errors import ManifestUnusable
from uploader.tree.identity import Identity
from uploader.tree.manifest import Manifest
from uploader.tree.reader import Reader
from uploader.tree.rows import Row
from uploader.tree.states import FileState
from uploader.tree.words import failure_line, shown, write_csv, write_json

EXIT_CODES_READ = """\b
Exit codes:
  0    done
  1    the manifest cannot be used, or another process is at work on it
  2    wrong usage
"""
EXIT_CODES_FAILURES = """\b
Exit codes:
  0    nothing has failed
  1    what is listed has; or the manifest cannot be read
  2    wrong usage
"""
REASONS = (FileState.FAILED, FileState.SKIPPED, FileState.VANISHED)


def manifest_options(command: Callable[..., None]) -> Callable[..., None]:
    """Which manifest: by its file, or by the words that `put` was given. The command gets its `manifest`."""

    def find(
        paths: tuple[Path, ...],
        manifest: Path | None,
        broker: str | None,
        destinations: tuple[str, ...],
        batch: str | None,
        **rest: Any,
    ) -> None:
        command(manifest=manifest or manifest_of(paths, broker, destinations, batch), **rest)

    addressed = click.option("--broker", cls=BrokerOption, envvar="BROKER_URL", metavar="URL", help="Or BROKER_URL.")
    located = click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")
    found: Callable[..., None] = update_wrapper(find, command)  # with the options that it has already
    return located(addressed(identity_options(found)))


def identity_options(command: Callable[..., None]) -> Callable[..., None]:
    """What was said to put beside its paths; what the configuration says to put counts here, too."""
    named = click.option("--manifest", type=click.Path(path_type=Path, dir_okay=False), help="Instead of all these.")
    labelled = click.option("--batch", envvar="UPLOADER_PUT_BATCH", help="As it was given to put.")
    destined = click.option(
        "--destination",
        "destinations",
        multiple=True,
        envvar="UPLOADER_PUT_DESTINATION",
        metavar="NAME",
        help="As it was given to put.",
    )
    return destined(labelled(named(command)))


def manifest_of(paths: Sequence[Path], broker: str | None, destinations: tuple[str, ...], batch: str | None) -> Path:
    """The file for these words of put.

    :raises UsageError: they do not say which.
    :raises SystemExit: there is none; said.
    """
    if not paths or broker is None:
        raise click.UsageError("name the manifest, or the broker and the paths that were given to put")
    found = usual_place(identity_of(broker, destinations, batch, paths))
    with said():
        if not found.exists():
            named = ", ".join(shown(os.fsencode(path)) for path in paths)
            where = f"to {', '.join(destinations) or 'the default destination'} by {broker}, batch {batch or '-'}"
            alone = " (a file that is put alone has none)" if len(paths) == 1 and paths[0].is_file() else ""
            raise ManifestUnusable(f"{named}: there is no such manifest: no put of these paths {where}{alone}")
    return found


def identity_of(broker: str, destinations: Sequence[str], batch: str | None, paths: Sequence[Path | bytes]) -> Identity:
    """
    :raises UsageError: they cannot be meant so.
    """
    try:
        return Identity.of(str(parse_broker_url(broker)), destinations, batch or "", paths)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc


def usual_place(identity: Identity) -> Path:
    """
    :raises UsageError: there is none.
    """
    try:
        return identity.manifest(state_directory(os.environ))
    except RuntimeError as exc:  # a user without a home directory
        raise click.UsageError("there is no home directory to keep a manifest in: give --manifest FILE") from exc


@contextmanager
def said() -> Iterator[None]:
    """Errors of ours as one sentence and an exit code."""
    try:
        yield
    except UploaderError as exc:
        click.echo(f"error: {exc.message}", err=True)
        sys.exit(exc.exit_code)


@click.command(epilog=EXIT_CODES_FAILURES)
@manifest_options
@click.option("--all", "is_all", is_flag=True, help="And what was skipped or has vanished.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object a file and line.")
def failures(manifest: Path, is_all: bool, is_json: bool) -> None:
    """List the files that failed, each with its reason.

    \b
    Example:
      uploader failures photos --batch 2026-11-20
    """
    with said(), Reader.open(manifest) as reader:
        rows = reader.rows(REASONS if is_all else (FileState.FAILED,))
        if is_json:
            write_json(rows, sys.stdout)
        else:
            for row in rows:
                click.echo(failure_line(row))
        if reader.counts()[FileState.FAILED].files:
            sys.exit(EXIT_FAILED)


@click.command(epilog=EXIT_CODES_READ)
@manifest_options
@click.option("--code", "codes", multiple=True, metavar="CODE", help="Only what failed for this reason; repeatable.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object on stdout.")
def retry(manifest: Path, codes: tuple[str, ...], is_json: bool) -> None:
    """Put what failed among the files to send, with new sessions. The same put then sends them.

    \b
    Example:
      uploader retry photos --batch 2026-11-20 --code store-refused
    """
    with said(), Manifest.open(manifest) as opened:
        number = opened.retry(codes).result()
    if is_json:
        click.echo(msgspec.json.encode({"files": number}))
    else:
        click.echo(f"{number:,} {'file is' if number == 1 else 'files are'} to be sent again")


@click.command(epilog=EXIT_CODES_READ)
@manifest_options
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in FileState]),
    help="Only files in this state; repeatable.",
)
@click.option("--json/--csv", "is_json", default=True, show_default=True, help="JSON lines, or CSV with a header.")
@click.option("-o", "--output", type=click.File("w", encoding="utf-8", atomic=True), default="-", help="Not stdout.")
def export(manifest: Path, states: tuple[str, ...], is_json: bool, output: TextIO) -> None:
    """Print all that is known of every file, by path.

    \b
    Example:
      uploader export photos --batch 2026-11-20 --state verified --csv -o photos.csv
    """
    write: Callable[[Iterator[Row], TextIO], None] = write_json if is_json else write_csv
    with said(), Reader.open(manifest) as reader:
        write(reader.rows([FileState(each) for each in states]), output)
