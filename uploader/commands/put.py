"""`uploader put`: one file, or trees."""

from pathlib import Path

import click

from uploader.commands.exit_codes import EXIT_CODES
from uploader.commands.options import broker_options
from uploader.commands.put_options import (
    Declared,
    ForOne,
    ForTrees,
    PutCommand,
    declared_options,
    for_one_options,
    for_trees_options,
)


@click.command(cls=PutCommand, epilog=EXIT_CODES, short_help="Upload files and directories.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True), metavar="PATH...")
@broker_options
@declared_options
@for_trees_options
@for_one_options
@click.option("--json", "is_json", is_flag=True, help="One JSON event a line on stdout.")
@click.pass_context
def put(
    context: click.Context,
    paths: tuple[Path, ...],
    broker: str,
    key_file: Path | None,
    declared: Declared,
    one: ForOne,
    trees: ForTrees,
    is_json: bool,
) -> None:
    """Upload PATHs: one file, or files and directories with all that is below.

    Interrupted at any moment, the same command goes on and sends again nothing that was verified; over an unchanged
    tree it does nothing.

    \b
    Example:
      uploader put report.csv --metadata case=17 --wait processed
      uploader put film.mkv --destination eu --destination us
      uploader put photos --batch 2026-11-20 --exclude '*.tmp' --exclude .git/
      uploader put photos --batch 2026-11-20 --dry-run
    """
    if trees.manifest is None and not paths:
        raise click.UsageError("name what to upload: files, directories, or a --manifest to go on with")
    if trees.dry_run:
        from uploader.commands.put_tree import foresee

        foresee(paths, broker, declared, trees, is_json=is_json)
    elif trees.manifest is None and len(paths) == 1 and paths[0].is_file():
        from uploader.commands.put_file import put_file

        put_file(paths[0], broker, key_file, declared, one, is_json=is_json)
    else:
        from uploader.commands.put_tree import put_tree

        _refuse_for_trees(context)
        put_tree(paths, broker, key_file, declared, trees, is_json=is_json)


def _refuse_for_trees(context: click.Context) -> None:
    for name in ("filename", "no_resume", "keep_session"):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} is for one file")
