"""`uploader put` of directories."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from uploader.commands.running import run
from uploader.progress import ticking
from uploader.remarks import size_text
from uploader.sdk import Uploader
from uploader.transfer.order import TreeOrder, TreeResult
from uploader.tree.words import failure_line
from uploader.views.choose import choose_tree_view


def put_trees(
    uploader: Uploader, paths: Sequence[Path], order: TreeOrder, manifest: Path | None = None, *, is_json: bool
) -> None:
    view = choose_tree_view(is_json=is_json)

    async def work() -> TreeResult:
        async with uploader, ticking(view):
            return await uploader.put_tree(paths, order, manifest=manifest, observer=view)

    result = run(work(), view, ", ".join(map(str, paths)))
    if not is_json:
        for row in result.failures:
            click.echo(f"failed: {failure_line(row)}", err=True)
        if result.error is not None:
            click.echo(f"error: {result.error.message}", err=True)
        click.echo(f"{result.verified_files:,} files, {size_text(result.verified_bytes)} are verified")
    if result.exit_code:
        sys.exit(result.exit_code)
