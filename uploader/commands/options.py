"""What several commands are told in the same words, and what they make of it."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from uploader.config.choice import Choice
from uploader.config.keys import KeyAbsent
from uploader.resume import Notes
from uploader.sdk import Uploader

SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class BrokerOption(click.Option):
    """A flag, or of a profile that is a flag, or the environment's, or the file's."""

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, click.core.ParameterSource]:
        value, source = super().consume_value(ctx, opts)
        first = choice_of(ctx).broker_first
        if source is click.core.ParameterSource.ENVIRONMENT and first is not None:
            return first, click.core.ParameterSource.DEFAULT_MAP
        return value, source


def broker_options(command: Callable[..., None]) -> Callable[..., None]:
    url = click.option(
        "--broker", cls=BrokerOption, envvar="BROKER_URL", required=True, metavar="URL", help="Or BROKER_URL."
    )
    key = click.option(
        "--key-file",
        envvar="BROKER_API_KEY_FILE",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="File that holds the key (or BROKER_API_KEY_FILE). Or BROKER_API_KEY. Never an argument: everybody can "
        "see those.",
    )
    return url(key(command))


def checked_id(_: click.Context, parameter: click.Parameter, value: str) -> str:
    if not SESSION_ID.fullmatch(value):  # it becomes part of a path
        raise click.BadParameter(f"{value!r} is no session id", param=parameter)
    return value


def checked_ids(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(checked_id(context, parameter, value) for value in values)


def choice_of(context: click.Context | None) -> Choice:
    """What the configuration file says, if there is one."""
    return (context and context.find_object(Choice)) or Choice()


def uploader_of(broker: str, key_file: Path | None, notes: Notes | None = None) -> Uploader:
    choice = choice_of(click.get_current_context(silent=True))
    try:
        key = choice.key(broker, key_file, os.environ)
        return Uploader(broker, key.text, notes=notes)
    except (KeyAbsent, ValueError) as exc:
        raise click.UsageError(str(exc)) from exc
