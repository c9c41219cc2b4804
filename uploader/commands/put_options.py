"""The options of `uploader put`, gathered into three values: what is declared, what concerns one file, what trees."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import update_wrapper
from pathlib import Path
from typing import Any, TypeVar

import click

from uploader.checksums import Choice
from uploader.config.options import PAIRS
from uploader.orders import Strategy, Wait
from uploader.transfer.order import MAX_PROCESSES, MAX_TREE_JOBS, MIN_MEMORY_BYTES, Mode, TreeOrder
from uploader.tree.filters import Filters
from uploader.tree.rows import Order
from uploader.tree.sizes import parse_size

USUAL = TreeOrder()

Command = TypeVar("Command", bound=Callable[..., None])


def _pairs(_: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE", param=parameter)
    return {name: value for name, _, value in (v.partition("=") for v in values)}


def _memory(_: click.Context, parameter: click.Parameter, value: str) -> int:
    try:
        size = parse_size(value)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param=parameter) from exc
    if size < MIN_MEMORY_BYTES:
        raise click.BadParameter(f"{value!r} is less than {MIN_MEMORY_BYTES >> 20}MiB", param=parameter)
    return size


def _patterns(_: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    try:
        Filters.parse(values)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param=parameter) from exc
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What is said of every file, be it one or a million."""

    destinations: tuple[str, ...]
    batch: str | None
    owner: str | None
    content_type: str | None
    metadata: dict[str, str]
    checksum: Choice
    strategy: Strategy
    wait: Wait
    timeout: float
    jobs: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForOne:
    """What makes sense for one file alone."""

    filename: str | None
    no_resume: bool
    keep_session: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ForTrees:
    """What makes a difference for trees alone."""

    include: tuple[str, ...]
    exclude: tuple[str, ...]
    follow_symlinks: bool
    order: Order
    mode: Mode
    processes: int
    manifest: Path | None
    memory: int
    no_nice: bool
    dry_run: bool

    @property
    def filters(self) -> Filters:
        return Filters.parse(self.include, self.exclude)


def _gathered(kind: type[Any], name: str, *options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """The command gets one value instead of its fields."""
    fields = [field.name for field in dataclasses.fields(kind)]

    def decorate(command: Command) -> Command:
        def call(**words: Any) -> None:
            value = kind(**{field: words.pop(field) for field in fields})
            command(**{name: value}, **words)

        gathered: Any = update_wrapper(call, command)
        for option in reversed(options):
            gathered = option(gathered)
        return gathered  # type: ignore[no-any-return]

    return decorate


class PutCommand(click.Command):
    """Its help says which options are for trees, and which for one file."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {
            "Options": [],
            "Options for trees": [],
            "Options for one file": [],
        }
        for each in self.get_params(ctx):
            if (record := each.get_help_record(ctx)) is not None and isinstance(each, click.Option):
                sections[_section(each.name or "")].append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _section(name: str) -> str:
    if name in ForTrees.__dataclass_fields__:
        return "Options for trees"
    return "Options for one file" if name in ForOne.__dataclass_fields__ else "Options"


declared_options = _gathered(
    Declared,
    "declared",
    click.option(
        "--destination",
        "destinations",
        multiple=True,
        metavar="NAME",
        help="Repeat for a copy in each: one reading of the file for all. Without it: default.",
    ),
    click.option("--batch", help="Your application's label; also names the upload that a later command goes on with."),
    click.option("--owner", help="Your application's label."),
    click.option("--content-type", help="Of every file. Guessed from each name by default."),
    click.option("--metadata", multiple=True, callback=_pairs, metavar=PAIRS, help="Kept with each session."),
    click.option(
        "--checksum",
        type=click.Choice(["auto", "sha256", "md5", "none"]),
        default="auto",
        show_default=True,
        help="Declared and proved. auto: sha256 up to 1 MiB, for which one file is read once more; above, the MD5 of "
        "what leaves is compared with the store's; for several destinations sha256 and md5, of which every store has "
        "to prove the same one. none: neither declared nor compared.",
    ),
    click.option(
        "--strategy",
        type=click.Choice(["auto", "put", "multipart", "resumable"]),
        default="auto",
        show_default=True,
        help="One request, parts side by side, or piece after piece; auto leaves it to the broker.",
    ),
    click.option(
        "--wait",
        type=click.Choice(["none", "verified", "processed"]),
        default="verified",
        show_default=True,
        help="none: the store has it. verified: the broker has looked. processed: a consumer is done.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0),
        default=600,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for that state after the last byte.",
    ),
    click.option(
        "--jobs",
        type=click.IntRange(1, MAX_TREE_JOBS),
        help="The most requests under way, 64 by default, of which as many are used as pay; of one file the parts at a "
        "time, for each copy, 6 by default and at most 32.",
    ),
)

for_one_options = _gathered(
    ForOne,
    "one",
    click.option("--filename", help="Name to declare instead of its own."),
    click.option(
        "--no-resume",
        is_flag=True,
        help="Neither go on with an interrupted upload nor leave a note of this one under $XDG_STATE_HOME.",
    ),
    click.option("--keep-session", is_flag=True, help="Do not abort the session on failure or Ctrl-C."),
)

for_trees_options = _gathered(
    ForTrees,
    "trees",
    click.option(
        "--include",
        multiple=True,
        callback=_patterns,
        metavar="GLOB",
        help="Only files that match one. '*.jpg' is a name at any depth, 'raw/**/*.dng' a path from the root.",
    ),
    click.option(
        "--exclude",
        multiple=True,
        callback=_patterns,
        metavar="GLOB",
        help="Leave out what matches; '.git/' is a directory with all below.",
    ),
    click.option(
        "--follow-symlinks", is_flag=True, help="Send what links lead to. Without it they are skipped, and said so."
    ),
    click.option(
        "--order",
        type=click.Choice(["size", "path", "mtime"]),
        default="size",
        show_default=True,
        help="Smallest first, by name, or oldest first.",
    ),
    click.option(
        "--mode",
        type=click.Choice(["concurrent", "parallel"]),
        default="concurrent",
        show_default=True,
        help="One process, or one for each core.",
    ),
    click.option(
        "--processes",
        type=click.IntRange(0, MAX_PROCESSES),
        default=0,
        metavar="N",
        help="With --mode parallel: so many. They share --jobs and --memory.",
    ),
    click.option(
        "--manifest",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Where the state of the upload is kept. By default under $XDG_STATE_HOME, one for each broker, "
        "destinations, batch and paths. Without PATH: go on with what is in it.",
    ),
    click.option(
        "--memory",
        default=f"{USUAL.memory_bytes >> 20}MiB",
        show_default=True,
        callback=_memory,
        metavar="SIZE",
        help="For the bodies of small files that are read ahead.",
    ),
    click.option(
        "--no-nice", is_flag=True, help="As much CPU and disk as everybody else; without it the upload gives way."
    ),
    click.option("--dry-run", is_flag=True, help="Say what would be sent, and why not the rest. Asks no broker."),
)
