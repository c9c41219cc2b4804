"""Options of a command as a configuration file names them, and what click makes of their values.

An option is called by its long name with underscores: `--follow-symlinks` is `follow_symlinks = true`. What may be
given several times is a list, NAME=VALUE pairs are a table.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from uploader.config.document import kind
from uploader.config.errors import ConfigRefused

ELSEWHERE = frozenset({"help", "broker", "key_file"})
PAIRS = "NAME=VALUE"


def options_of(command: click.Command) -> dict[str, click.Option]:
    """By their names in the file."""
    every = {name_of(each): each for each in command.params if isinstance(each, click.Option)}
    return {name: option for name, option in every.items() if name not in ELSEWHERE}


def name_of(option: click.Option) -> str:
    longest: str = max(option.opts, key=len)
    return longest.lstrip("-").replace("-", "_")


def defaults(command: click.Command, content: Mapping[str, Any], path: Path, where: str) -> dict[str, Any]:
    """What click takes for defaults of that command, by its parameters.

    :raises ConfigRefused: a value that the option would not take from the command line, either.
    """
    known = options_of(command)
    context = click.Context(command, resilient_parsing=False)
    found: dict[str, Any] = {}
    for name, value in content.items():
        option, place = known[name], f"{where}.{name}"
        given = _given(option, value, path, place)
        try:
            option.process_value(context, given)
        except click.BadParameter as exc:
            raise ConfigRefused(path, place, exc.message) from exc
        found[option.name or ""] = given
    return found


def _given(option: click.Option, value: Any, path: Path, where: str) -> Any:
    """As it would come from the command line."""
    if option.multiple:
        if option.metavar == PAIRS and isinstance(value, dict):
            return tuple(f"{name}={_one(option, each, path, where)}" for name, each in value.items())
        listed = value if isinstance(value, list) else [value]
        return tuple(_one(option, each, path, where) for each in listed)
    return _one(option, value, path, where)


def _one(option: click.Option, value: Any, path: Path, where: str) -> Any:
    wanted, words = _wanted(option)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        raise ConfigRefused(path, where, f"is {words}, not {kind(value)}")
    return value


def _wanted(option: click.Option) -> tuple[tuple[type, ...], str]:
    if option.is_flag:
        return (bool,), "true or false"
    if isinstance(option.type, click.types.FloatParamType):
        return (int, float), "a number"
    if isinstance(option.type, click.types.IntParamType):
        return (int,), "a whole number"
    return (str,), "text"


def origins(command: click.Command, context: click.Context) -> Iterator[tuple[str, Any, click.core.ParameterSource]]:
    """What each option would be, and why, if nothing were said on the command line."""
    for name, option in options_of(command).items():
        value, source = option.consume_value(context, {})
        yield name, value, source
