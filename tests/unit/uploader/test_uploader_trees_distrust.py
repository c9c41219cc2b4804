"""Answers that are none, and a full disk: no file is counted for what happened to another, and none is forgotten."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from chaotic_standin import later
from many_standin import Many, ManyParts
from tree_manifests import states, write
from tree_tools import make_tree
from uploader_standin import KEY, QUICK, serving

from broker import contract
from uploader import TreeOrder, Unreachable, Uploader
from uploader.transfer.steps import LocalSteps
from uploader.tree.errors import ManifestUnusable
from uploader.tree.manifest import Manifest
from uploader.tree.rows import Minted

Told = dict[str, Any]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "photos", 12)


def always_the_first(first: Told, _: Told) -> Told:
    return first


def of_another_size(_: Told, told: Told) -> Told:
    return told | {"session": told["session"] | {"size_bytes": 7}}


@pytest.mark.parametrize("forge", [always_the_first, of_another_size])
async def test_a_session_of_another_file_ends_the_run(
    tree_uploader: Uploader,
    many: Many,
    tmp_path: Path,
    manifest: Path,
    monkeypatch: pytest.MonkeyPatch,
    forge: Callable[[Told, Told], Told],
) -> None:
    for number in range(4):  # of one size, and without a digest: a look at the wrong object finds nothing amiss
        write(tmp_path / "photos" / f"{number}.jpg", 100)
    honest, told = Many._minted, []

    async def minted(self: Many, item: contract.BatchItem) -> Told:
        told.append(await honest(self, item))
        return forge(told[0], told[-1])

    monkeypatch.setattr(Many, "_minted", minted)
    result = await tree_uploader.put_tree([tmp_path / "photos"], TreeOrder(checksum="none"), manifest=manifest)
    assert isinstance(result.error, Unreachable)
    assert (result.exit_code, result.verified_files, len(many.puts)) == (4, 0, 0)
    assert set(states(manifest).values()) == {"pending"}


@pytest.mark.parametrize("one_of", [8, 0])
async def test_who_waits_for_his_turn_is_not_left_by_the_broker(
    many: Many, tmp_path: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch, one_of: int
) -> None:
    tree, turns, honest = make_tree(tmp_path / "photos", 80), count(1), Many._minted

    async def minted(self: Many, item: contract.BatchItem) -> Told:
        if one_of and next(turns) % one_of == 0:
            return await honest(self, item)
        return later()

    monkeypatch.setattr(Many, "_minted", minted)
    patient = replace(QUICK, attempts=9)  # one more than the last one may need
    async with Uploader(many.broker_url, KEY, retry=patient) as uploader:
        result = await asyncio.wait_for(uploader.put_tree([tree], manifest=manifest), 60)
    if one_of:
        assert (result.exit_code, result.verified_files) == (0, 80)
    else:
        assert isinstance(result.error, Unreachable)
        assert (result.exit_code, result.pending_files) == (4, 80)


async def test_a_session_that_nobody_may_abort_is_not_forgotten(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    await tree_uploader.put_tree([tree], manifest=manifest)
    with Manifest.open(manifest) as opened:
        opened.abandon(["000000abc", "000001abc"]).result()
    async with Uploader(many.broker_url, "ub_of_somebody_else_0123", retry=QUICK) as stranger:
        await stranger.put_tree([tree], manifest=manifest)
    with Manifest.open(manifest) as opened:
        assert len(opened.abandoned(10).result()) == 2
    await tree_uploader.put_tree([tree], manifest=manifest)
    with Manifest.open(manifest) as opened:
        assert opened.abandoned(10).result() == []


async def test_a_disk_that_is_full_is_no_large_file_s_fault(
    tmp_path: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write(tmp_path / "films" / f"{number}.mkv", (3 << 20) + number)
    honest, is_full = LocalSteps.minted, True

    async def minted(self: LocalSteps, files: Sequence[Minted]) -> None:
        if is_full:
            raise ManifestUnusable("the disk is full")
        await honest(self, files)

    monkeypatch.setattr(LocalSteps, "minted", minted)
    async with (
        serving(ManyParts()) as many,
        Uploader(many.broker_url, KEY, retry=QUICK, stall=timedelta(seconds=2)) as uploader,
    ):
        result = await uploader.put_tree([tmp_path / "films"], manifest=manifest)
        assert isinstance(result.error, ManifestUnusable)
        assert (result.exit_code, result.failed_files, result.pending_files) == (1, 0, 3)
        is_full = False
        again = await asyncio.wait_for(uploader.put_tree([tmp_path / "films"], manifest=manifest), 30)
    assert (again.exit_code, again.verified_files, len(many.sessions)) == (0, 3, 3)
