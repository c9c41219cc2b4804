"""Large files of a tree: what arrived as something else is sent again, or fails; what changes is never believed."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from many_standin import ManyParts
from tree_manifests import states
from uploader_standin import KEY, QUICK, serving

from broker.contract import State
from uploader import Uploader

MIB = 1 << 20


@pytest.fixture
async def parted() -> AsyncIterator[ManyParts]:
    async with serving(ManyParts(part_size_bytes=2 * MIB, names="md5")) as started:
        assert isinstance(started, ManyParts)
        yield started


@pytest.fixture
async def uploader(parted: ManyParts) -> AsyncIterator[Uploader]:
    async with Uploader(parted.broker_url, KEY, retry=QUICK) as opened:
        yield opened


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "films" / "film.mkv"
    path.parent.mkdir()
    path.write_bytes(os.urandom(5 * MIB))
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tmp_path / "manifest.sqlite"


async def test_a_part_that_arrived_as_another_is_sent_again(
    uploader: Uploader, parted: ManyParts, film: Path, manifest: Path
) -> None:
    parted.part_faults[2].append("garble")
    result = await uploader.put_tree([film.parent], manifest=manifest)
    assert (result.verified_files, result.exit_code) == (1, 0)
    assert parted.times_sent() == {1: 1, 2: 2, 3: 1}


@pytest.mark.parametrize("size", [2 * MIB, 5 * MIB], ids=["one PUT", "parts"])
async def test_what_always_arrives_as_another_fails_and_leaves_no_session(
    uploader: Uploader, parted: ManyParts, film: Path, manifest: Path, size: int
) -> None:
    os.truncate(film, size)
    parted.store_faults.extend(["garble"] * 99)
    result = await uploader.put_tree([film.parent], manifest=manifest)
    assert (result.failed_files, result.exit_code) == (1, 1)
    assert [row.error_code for row in result.failures] == ["content-mismatch"]
    assert {session.state for session in parted.sessions.values()} == {State.ABORTED}
    assert set(states(manifest).values()) == {"failed"}
