"""What several commands are told in the same words, and what they make of it."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import click

from uploader.resume import Notes
from uploader.sdk import Uploader

EXIT_CODES = """\b
Exit codes:
  0    every file reached the state that was asked for
  1    the upload failed or was rejected; the file could not be read or changed
  2    wrong usage
  3    the broker refuses: key, role, or a declaration that it does not accept
  4    broker or store unreachable, or the state did not come in time; what was sent in parts or
       pieces is kept for the same command to go on
  5    every file has as many copies as its session needs, but one is missing; the same command sends it alone
  130  interrupted; the session was aborted, or kept for the same command to go on (sent in parts or
       pieces, or to several)
"""


def broker_options(command: Callable[..., None]) -> Callable[..., None]:
    url = click.option("--broker", envvar="BROKER_URL", required=True, metavar="URL", help="Or BROKER_URL.")
    key = click.option(
        "--key-file",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="File that holds the key. Or BROKER_API_KEY. Never an argument: everybody can see those.",
    )
    return url(key(command))


def checked_id(_: click.Context, parameter: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", value):  # it becomes part of a path
        raise click.BadParameter(f"{value!r} is no session id", param=parameter)
    return value


def checked_ids(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(checked_id(context, parameter, value) for value in values)


def uploader_of(broker: str, key_file: Path | None, notes: Notes | None = None) -> Uploader:
    key = key_file.read_text().strip() if key_file else os.environ.get("BROKER_API_KEY", "").strip()
    if not key:
        raise click.UsageError("no key: set BROKER_API_KEY or give --key-file")
    if not key.isascii() or not key.isprintable():
        raise click.UsageError("the key is not one line of printable ASCII")
    try:
        return Uploader(broker, key, notes=notes)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
