"""`uploader status`: of sessions, or of what put has sent of some paths."""

import os
import sys
from pathlib import Path

import click
import msgspec
from click.core import ParameterSource

from uploader.commands.batch import identity_options, manifest_of, said
from uploader.commands.options import SESSION_ID, BrokerOption, uploader_of
from uploader.commands.running import run
from uploader.errors import EXIT_FAILED, EXIT_UNREACHABLE
from uploader.progress import choose_view
from uploader.report import status_json, status_text
from uploader.tree.reader import Reader
from uploader.tree.words import Status, status_lines

EXIT_CODES = """\b
Exit codes:
  0    sessions: they are printed; paths: every file is verified, or was passed over
  1    paths: some have failed; or the manifest cannot be read
  2    wrong usage
  3    sessions: the broker refuses, or knows none of that id
  4    sessions: the broker is not reached; paths: none has failed, but some are not verified yet
  130  interrupted
"""


@click.command(epilog=EXIT_CODES, short_help="How far a session is, or all that was put of some paths.")
@click.argument("words", nargs=-1, metavar="[SESSION_ID... | PATH...]")
@click.option("--broker", cls=BrokerOption, envvar="BROKER_URL", metavar="URL", help="Or BROKER_URL.")
@click.option(
    "--key-file",
    envvar="BROKER_API_KEY_FILE",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="For sessions: file that holds the key. Or BROKER_API_KEY.",
)
@identity_options
@click.option("--json", "is_json", is_flag=True, help="One JSON object a session, or of all paths.")
@click.pass_context
def status(
    context: click.Context,
    words: tuple[str, ...],
    broker: str | None,
    key_file: Path | None,
    manifest: Path | None,
    destinations: tuple[str, ...],
    batch: str | None,
    is_json: bool,
) -> None:
    """Print state and timeline of sessions, or how many files and bytes of PATHs are in which state.

    Paths are the ones that put was given; it may be asked while put is at work, and asks no broker. A word that is
    the name of a file or directory is a path.

    \b
    Example:
      uploader status 01K9Z3S5WJ1N6M2Q4R8T0V7XYA
      uploader status photos --batch 2026-11-20
      uploader status --manifest photos.sqlite --json
    """
    if words and manifest is not None and context.get_parameter_source("manifest") is ParameterSource.COMMANDLINE:
        raise click.UsageError("the manifest, or words; not both")
    if _are_sessions(context, words):
        _of_sessions(words, broker, key_file, is_json=is_json)
    else:
        found = manifest or manifest_of([Path(word) for word in words], broker, destinations, batch)
        _of_files(found, is_json=is_json)


def _are_sessions(context: click.Context, words: tuple[str, ...]) -> bool:
    told = (context.get_parameter_source(name) for name in ("destinations", "batch"))
    if ParameterSource.COMMANDLINE in told or any(os.path.lexists(word) for word in words):
        return False
    return bool(words) and all(SESSION_ID.fullmatch(word) for word in words)


def _of_sessions(session_ids: tuple[str, ...], broker: str | None, key_file: Path | None, *, is_json: bool) -> None:
    if broker is None:
        raise click.UsageError("no broker: set BROKER_URL or give --broker")
    uploader = uploader_of(broker, key_file)
    show = status_json if is_json else status_text

    async def work() -> None:
        async with uploader:
            for session_id in session_ids:
                click.echo(show(await uploader.status(session_id)))

    run(work(), choose_view(is_json=is_json), "status")


def _of_files(manifest: Path, *, is_json: bool) -> None:
    with said(), Reader.open(manifest) as reader:
        found = Status.of(reader.about(), reader.counts(), reader.gone())
    click.echo(msgspec.json.encode(found) if is_json else "\n".join(status_lines(found)))
    if found.failed:
        sys.exit(EXIT_FAILED)
    if not found.is_finished:
        sys.exit(EXIT_UNREACHABLE)
