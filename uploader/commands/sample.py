"""`uploader sample`."""

import sys
from pathlib import Path

import click
import msgspec

from uploader.errors import UploaderError
from uploader.remarks import size_text
from uploader.tree.sample import MAX_LINKS, Sample
from uploader.tree.sizes import Sizes, parse_size

MAX_DEPTH = 200  # ours: deeper paths than the 4,096 bytes that a system call takes are of no use as a sample


def _sizes(_: click.Context, parameter: click.Parameter, value: str) -> Sizes:
    try:
        return Sizes.parse(value)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param=parameter) from exc


def _size(_: click.Context, parameter: click.Parameter, value: str) -> int:
    try:
        return parse_size(value)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param=parameter) from exc


@click.command(
    epilog="""\b
Exit codes:
  0    the tree is there
  1    DIR is not empty, or the disk does not take it
  2    wrong usage
"""
)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--files", type=click.IntRange(0), required=True, metavar="N", help="How many.")
@click.option(
    "--depth", type=click.IntRange(0, MAX_DEPTH), default=2, show_default=True, help="Directories above each file."
)
@click.option(
    "--size",
    "sizes",
    default="4KiB",
    show_default=True,
    callback=_sizes,
    metavar="SIZE[-SIZE]",
    help="Of each file; of a range every order of magnitude is as likely.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another one makes other bytes and sizes.")
@click.option("--odd", is_flag=True, help="And DIR/odd: names that have broken programs.")
@click.option("--empty", type=click.IntRange(0), default=0, metavar="N", help="And DIR/empty: files of 0 bytes.")
@click.option("--sparse", default="0", callback=_size, metavar="SIZE", help="And DIR/sparse: one file that is a hole.")
@click.option(
    "--links",
    type=click.IntRange(1, MAX_LINKS),
    default=1,
    show_default=True,
    metavar="N",
    help="Names for each file: hard links are quick to make, but share their bytes.",
)
@click.option("--json", "is_json", is_flag=True, help="One JSON object on stdout.")
def sample(
    directory: Path,
    files: int,
    depth: int,
    sizes: Sizes,
    seed: int,
    odd: bool,
    empty: int,
    sparse: int,
    links: int,
    is_json: bool,
) -> None:
    """Make a tree of files in DIR to try things on. The same options make the same names, sizes, bytes and times.

    \b
    Example:
      uploader sample tree --files 10000 --depth 3 --size 1KiB-1MiB --odd
      uploader sample million --files 1000000 --size 0 --links 1000
    """
    order = Sample(
        files=files,
        depth=depth,
        sizes=sizes,
        seed=seed,
        links=links,
        has_odd_names=odd,
        empty=empty,
        sparse_bytes=sparse,
    )
    try:
        made = order.make(directory)
    except UploaderError as exc:
        click.echo(f"error: {exc.message}", err=True)
        sys.exit(exc.exit_code)
    if is_json:
        click.echo(msgspec.json.encode(made))
    else:
        click.echo(f"{directory}: {made.files:,} files, {size_text(made.size_bytes)}, {made.directories:,} directories")
