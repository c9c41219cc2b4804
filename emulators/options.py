"""Options that every emulator's command has, and types that turn their text into values.

    @click.command(name="gcs")
    @listen_option("127.0.0.1:9001")
    @data_option
    @faults_option(FaultSettings, '{"seed": 7, "events_lost": 0.2}')
    @process_options
    def command(listen, data, faults, exit_with_stdin, is_json, verbose): …
        launch(listening(settings, faults, listen), exit_with_stdin=…, verbose=verbose, when_ready=announce)

A command imports its server in its body where that needs more than a bare installation has.
"""

import logging
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from emulators.listening import Address, CannotListen, DataInUse, Where, run

Command = TypeVar("Command", bound=Callable[..., Any])


def parsed(name: str, read: Callable[[str], Any]) -> Callable[[Any], Any]:
    """An option's type: its text becomes a value, or a sentence that says what was expected."""

    def convert(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return read(value)
        except (ValueError, msgspec.DecodeError) as exc:
            raise click.BadParameter(f"{value!r} is not {name}. {exc}".rstrip(" .")) from exc

    convert.__name__ = name  # click shows it in --help
    return convert


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not host:
        raise ValueError
    return host.strip("[]"), int(port)


def listen_option(default: str) -> Callable[[Command], Command]:
    return click.option(
        "--listen",
        type=parsed("HOST:PORT", _address),
        default=default,
        show_default=True,
        help="Port 0 picks a free one.",
    )


data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where it keeps things. Without it: a temporary directory that ends with the process.",
)


def faults_option(settings: type[msgspec.Struct], example: str) -> Callable[[Command], Command]:
    def read(text: str) -> Any:
        return msgspec.json.decode(text.encode(), type=settings)

    return click.option(
        "--faults",
        type=parsed("a JSON object of faults", read),
        default=settings(),
        help=f"Misbehave from the start, for example {example}; see GET /_emulator/faults.",
    )


def process_options(command: Command) -> Command:
    """`--exit-with-stdin`, `--json` (as `is_json`) and `--verbose`."""
    ends = click.option(
        "--exit-with-stdin", is_flag=True, help="End when stdin closes, so that no test run leaves an emulator behind."
    )
    tells = click.option("--json", "is_json", is_flag=True, help="Print one JSON line on stdout when ready.")
    logs = click.option("--verbose", is_flag=True, help="Log every refusal.")
    return ends(tells(logs(command)))


def launch(
    server: AbstractAsyncContextManager[Where],
    *,
    exit_with_stdin: bool,
    verbose: bool,
    when_ready: Callable[[Where], None],
) -> None:
    """Serve until told to end; what hinders is told in a sentence."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO if verbose else logging.WARNING)
    try:
        run(server, ends_with_stdin=exit_with_stdin, when_ready=when_ready)
    except (DataInUse, CannotListen) as exc:
        raise click.ClickException(str(exc)) from exc
