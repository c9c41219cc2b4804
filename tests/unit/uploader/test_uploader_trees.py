"""Trees through the stand-in: every file verified, and the same command again does nothing."""

from pathlib import Path

import pytest
from many_standin import Many, ManyParts
from tree_manifests import rows, states, write
from tree_tools import Onlooker
from uploader_standin import KEY, QUICK, serving

from uploader import TreeOrder, Uploader, events


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for number in range(30):
        write(root / f"{number % 3}" / f"{number}.jpg", 100 + number)
    write(root / "empty", 0)
    return root


async def test_every_file_of_a_tree_is_verified(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    result = await tree_uploader.put_tree([tree], manifest=manifest)
    assert (result.verified_files, result.sent_files, result.exit_code) == (31, 31, 0)
    assert result.is_finished
    assert many.paths() == {"photos/empty": 1} | {f"photos/{number % 3}/{number}.jpg": 1 for number in range(30)}
    assert set(states(manifest).values()) == {"verified"}
    assert len(many.puts) == 31


async def test_the_same_command_again_sends_nothing_and_writes_no_row(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    await tree_uploader.put_tree([tree], manifest=manifest)
    before, calls = rows(manifest), len(many.calls)
    result = await tree_uploader.put_tree([tree], manifest=manifest)
    assert (result.sent_files, result.unchanged_files, result.exit_code) == (0, 31, 0)
    assert rows(manifest) == before
    assert len(many.calls) == calls


async def test_what_is_declared_of_a_file(tree_uploader: Uploader, many: Many, tree: Path, manifest: Path) -> None:
    (tree / "0" / "0.jpg").chmod(0o640)
    await tree_uploader.put_tree([tree], TreeOrder(batch="b", metadata={"case": "17"}), manifest=manifest)
    (wanted,) = [s.wanted for s in many.sessions.values() if s.wanted.filename == "0.jpg"]
    assert (wanted.content_type, wanted.batch, wanted.size_bytes) == ("image/jpeg", "b", 100)
    assert wanted.metadata == {"case": "17", "path": "photos/0/0.jpg"}
    assert wanted.object_metadata == {"mtime": "1000", "mode": "0640"}
    assert wanted.checksum.sha256 is not None


async def test_large_and_small_files_in_one_tree(tmp_path: Path, manifest: Path) -> None:
    root = tmp_path / "films"
    write(root / "small", 10)
    write(root / "medium", (1 << 20) + 1)
    write(root / "large", 5 << 20)
    async with (
        serving(ManyParts(part_size_bytes=2 << 20)) as parted,
        Uploader(parted.broker_url, KEY, retry=QUICK) as uploader,
    ):
        result = await uploader.put_tree([root], manifest=manifest)
    assert (result.verified_files, result.exit_code) == (3, 0)
    assert result.sent_bytes == 10 + (1 << 20) + 1 + (5 << 20)


async def test_observers_hear_how_it_goes(tree_uploader: Uploader, tree: Path, manifest: Path) -> None:
    onlooker = Onlooker(wants_files=True)
    await tree_uploader.put_tree([tree], manifest=manifest, observer=onlooker)
    names = [type(event) for event in onlooker.events]
    assert (names[0], names[-1]) == (events.TreeBegan, events.TreeFinished)
    assert len(onlooker.of(events.FileVerified)) == 31
    meter = onlooker.meter
    assert (meter.found_files, meter.todo_files, meter.sent_files, meter.verified_files) == (31, 31, 31, 31)
    assert meter.todo_bytes == meter.sent_bytes == meter.verified_bytes
    assert (meter.concurrency, meter.large) == (0, [])
