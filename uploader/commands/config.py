"""`uploader config`."""

import os
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from click.core import ParameterSource
from msgspec import Struct

from uploader.commands.group import FOLLOWING, Commands
from uploader.commands.options import BrokerOption, choice_of
from uploader.config.choice import Choice, unsecret
from uploader.config.keys import KeyAbsent
from uploader.config.options import origins
from uploader.config.place import usual_place


class Setting(Struct, frozen=True):
    """What is in force. A key is never among the values.

    :ivar name: `put.jobs` is the option --jobs of put.
    :ivar origin: a variable, or the file.
    """

    name: str
    value: object
    origin: str


@click.command(short_help="What is in force, and where each setting comes from.")
@click.option(
    "--broker",
    cls=BrokerOption,
    envvar="BROKER_URL",
    metavar="URL",
    help="As if a command were given it.",
)
@click.option("--key-file", envvar="BROKER_API_KEY_FILE", type=click.Path(path_type=Path), help="Likewise.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object a setting and line.")
@click.pass_context
def config(context: click.Context, broker: str | None, key_file: Path | None, is_json: bool) -> None:
    """Print what is in force when nothing is said on the command line, and where each of it comes from.

    \b
    Example:
      uploader config
      uploader --profile lab config --json
    """
    choice = choice_of(context)
    settings = [*_connection(context, choice, broker, key_file), *_options(context, choice)]
    if is_json:
        for each in settings:
            click.echo(msgspec.json.encode(each))
        return
    click.echo(f"# {_file_line(choice)}")
    width = max(len(each.name) for each in settings)
    for each in settings:
        click.echo(f"{each.name:<{width}}  {_text(each.value)}  ({each.origin})")


def _connection(context: click.Context, choice: Choice, broker: str | None, key_file: Path | None) -> Iterator[Setting]:
    origin = _broker_origin(context, choice) if broker else "set BROKER_URL"
    yield Setting("broker", broker and unsecret(broker), origin)
    try:
        key = choice.key(broker or "", key_file, os.environ)
    except KeyAbsent as exc:
        yield Setting("key", None, str(exc))
    else:
        yield Setting("key", "***", key.origin)


def _broker_origin(context: click.Context, choice: Choice) -> str:
    source = context.get_parameter_source("broker")
    return "--broker" if source is ParameterSource.COMMANDLINE else _origin(source, "BROKER_URL", choice)


def _options(context: click.Context, choice: Choice) -> Iterator[Setting]:
    above = context.parent
    if above is None or not isinstance(above.command, Commands):  # called by itself, in a test
        return
    for name in above.command.list_commands(above):
        command = above.command.get_command(above, name)
        if command is None or name == context.info_name:
            continue
        within = click.Context(command, parent=above, info_name=name)
        for option, value, source in origins(command, within):
            is_own = name not in FOLLOWING or option in choice.table.options.get(name, {})
            if is_own and source in {ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP}:
                variable = f"{within.auto_envvar_prefix}_{option.upper()}"
                yield Setting(f"{name}.{option}", value, _origin(source, variable, choice))


def _origin(source: ParameterSource | None, variable: str, choice: Choice) -> str:
    if source is ParameterSource.ENVIRONMENT:
        return variable
    return f"{choice.path}, profile {choice.profile}" if choice.profile else str(choice.path)


def _file_line(choice: Choice) -> str:
    if choice.path is not None:
        return f"{choice.path}, profile {choice.profile}" if choice.profile else str(choice.path)
    usual = usual_place(os.environ)
    return f"{usual} is not there" if usual else "no configuration file, because there is no home directory"


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
