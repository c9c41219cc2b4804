"""The group of all commands: each is imported when somebody asks for it, and hears what the configuration file says."""

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path

import click

from uploader.config.choice import Choice, absent, exists
from uploader.config.errors import ConfigRefused
from uploader.config.options import defaults, options_of
from uploader.config.place import usual_place

FOLLOWING = frozenset({"status", "failures", "retry", "export"})
"""commands over what put has left: what makes a manifest the one of that put is theirs, too"""
FOLLOWED = frozenset({"batch", "destinations", "manifest"})
HELP = f"{__name__}.help"


class Commands(click.Group):
    """:ivar places: `module:attribute` of each command, by name, in the order of the help."""

    places: Mapping[str, str] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [*self.places, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.places:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.places[cmd_name].partition(":")
        with _without_garbage():
            command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - a table of our own
        return command

    def invoke(self, ctx: click.Context) -> object:
        ctx.meta[HELP] = asks_for_help(ctx.args)  # before click hands them on
        return super().invoke(ctx)

    def option_names(self, context: click.Context, name: str) -> frozenset[str]:
        command = self.get_command(context, name)
        return frozenset(options_of(command)) if command else frozenset()


class ConfigError(click.ClickException):
    """Exit 2, as wrong usage: nothing was begun."""

    exit_code = 2


def configure(context: click.Context, path: Path | None, profile: str | None, *, is_asked: bool) -> None:
    """Give the command that is to run what the file says to it, and leave the choice as the context's object."""
    group = context.command
    assert isinstance(group, Commands)  # noqa: S101 - it is called by one
    if context.meta.get(HELP):  # which a broken file must not withhold
        return
    try:
        choice = chosen(context, group, path, profile, is_asked=is_asked)
        own = {name: _defaults(context, group, choice, name) for name in choice.table.options}
    except ConfigRefused as exc:
        raise ConfigError(str(exc)) from exc
    broker = {"broker": choice.table.broker} if choice.table.broker else {}
    followed = {name: value for name, value in own.get("put", {}).items() if name in FOLLOWED}
    context.obj = choice
    context.default_map = {
        name: broker | (followed if name in FOLLOWING else {}) | own.get(name, {})
        for name in group.list_commands(context)
    }


def chosen(
    context: click.Context, group: Commands, path: Path | None, profile: str | None, *, is_asked: bool
) -> Choice:
    """:raises ConfigRefused: what was asked for is not there, or the file is not one."""
    found = path or usual_place(os.environ)
    if found is None or (path is None and not exists(found)):
        if profile:
            raise absent(found, profile)
        return Choice()
    names = {name: partial(group.option_names, context, name) for name in group.list_commands(context)}
    return Choice.load(found, profile, is_asked=is_asked, commands=names)


def _defaults(context: click.Context, group: Commands, choice: Choice, name: str) -> dict[str, object]:
    command = group.get_command(context, name)
    return defaults(command, choice.table.options[name], choice.path, name) if command and choice.path else {}


def asks_for_help(arguments: list[str]) -> bool:
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return bool({"-h", "--help"} & set(before))


@contextmanager
def _without_garbage() -> Iterator[None]:
    """What an import makes stays: to search it for garbage, now and ever after, is a quarter of a command's start."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
