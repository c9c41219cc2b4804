"""`uploader put` of trees, and what it would do."""

import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import click

from uploader.commands.batch import identity_of, said, usual_place
from uploader.commands.options import uploader_of
from uploader.commands.preview import preview
from uploader.commands.put_options import USUAL, Declared, ForTrees
from uploader.commands.running import run
from uploader.commands.summary import interrupted_text, summary_lines, trouble_lines
from uploader.priority import lower
from uploader.progress import ticking
from uploader.transfer.order import TreeOrder, TreeResult
from uploader.tree.identity import Identity
from uploader.tree.reader import Reader
from uploader.tree.words import shown
from uploader.views.choose import choose_tree_view


def put_tree(
    paths: Sequence[Path], broker: str, key_file: Path | None, declared: Declared, trees: ForTrees, *, is_json: bool
) -> None:
    uploader = uploader_of(broker, key_file)
    order = _order(declared, trees)
    manifest = _manifest(paths, broker, declared, trees)
    if not trees.no_nice:
        lower()
    view = choose_tree_view(is_json=is_json)

    async def work() -> TreeResult:
        async with uploader, ticking(view):
            return await uploader.put_tree(paths, order, manifest=manifest, observer=view)

    name = ", ".join(shown(os.fsencode(path)) for path in paths) or str(manifest)
    result = run(work(), view, name, going_on=lambda: interrupted_text(manifest))
    if not is_json:
        _tell(result)
    sys.exit(result.exit_code)


def _manifest(paths: Sequence[Path], broker: str, declared: Declared, trees: ForTrees) -> Path:
    """
    :raises UsageError: the paths cannot be meant so, or there is no place for it.
    """
    if not paths and trees.manifest is not None:
        return trees.manifest
    identity = identity_of(broker, declared.destinations, declared.batch, paths)
    return trees.manifest or usual_place(identity)


def _tell(result: TreeResult) -> None:
    for line in trouble_lines(result):
        click.echo(line, err=True)
    for line in summary_lines(result):
        click.echo(line)


def _order(declared: Declared, trees: ForTrees) -> TreeOrder:
    try:
        return TreeOrder(
            destinations=declared.destinations,
            batch=declared.batch,
            owner=declared.owner,
            content_type=declared.content_type,
            metadata=declared.metadata,
            checksum=declared.checksum,
            strategy=declared.strategy,
            wait=declared.wait,
            timeout=timedelta(seconds=declared.timeout),
            jobs=declared.jobs or USUAL.jobs,
            memory_bytes=trees.memory,
            sequence=trees.order,
            mode=trees.mode,
            processes=trees.processes,
            filters=trees.filters,
            follows_symlinks=trees.follow_symlinks,
        )
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc


def foresee(paths: Sequence[Path], broker: str, declared: Declared, trees: ForTrees, *, is_json: bool) -> None:
    with said():
        identity = _foreseen(paths, broker, declared, trees)
        manifest = trees.manifest or usual_place(identity)
        preview(identity, manifest, trees.filters, follows_symlinks=trees.follow_symlinks, is_json=is_json)


def _foreseen(paths: Sequence[Path], broker: str, declared: Declared, trees: ForTrees) -> Identity:
    """Without paths: of what is in the manifest."""
    if paths or trees.manifest is None:
        return identity_of(broker, declared.destinations, declared.batch, paths)
    with Reader.open(trees.manifest) as reader:
        about = reader.about()
    return identity_of(broker, declared.destinations or about.destinations, declared.batch or about.batch, about.roots)
