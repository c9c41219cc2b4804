"""Trees of all sizes, to one place and to several, within the memory that was ordered."""

from datetime import timedelta
from pathlib import Path

import pytest
from many_standin import Many, ManyCopies, ManyParts
from tree_manifests import rows, states, write
from tree_tools import make_tree, paths_of
from uploader_standin import KEY, QUICK, serving

from uploader import TreeOrder, Uploader
from uploader.tree.rows import Order


@pytest.mark.parametrize("sequence", ["size", "path", "mtime"])
async def test_more_files_than_there_is_room_for_in_any_order(
    tree_uploader: Uploader, many: Many, tmp_path: Path, manifest: Path, sequence: Order
) -> None:
    root = tmp_path / "mixed"
    for number in range(60):
        write(root / f"{number:03d}", ((number * 7) % 3) * (600 << 10) + number, mtime=1_000 + (number * 13) % 60)
    order = TreeOrder(sequence=sequence, memory_bytes=4 << 20, jobs=5)
    result = await tree_uploader.put_tree([root], order, manifest=manifest)
    assert (result.exit_code, result.verified_files) == (0, 60)
    assert many.paths() == paths_of(root)


async def test_requests_that_all_expire_do_not_stop_the_run(
    tree_uploader: Uploader, many: Many, tmp_path: Path, manifest: Path
) -> None:
    root = tmp_path / "large"
    for number in range(20):
        write(root / f"{number:02d}", 1 << 20)
    many.ttls.extend([timedelta(seconds=5.001)] * 40)  # of use for a millisecond
    order = TreeOrder(memory_bytes=4 << 20)
    result = await tree_uploader.put_tree([root], order, manifest=manifest)
    assert (result.exit_code, result.verified_files, len(many.sessions)) == (0, 20, 20)


async def test_a_file_of_its_own_and_a_tree(
    tree_uploader: Uploader, many: Many, tmp_path: Path, manifest: Path
) -> None:
    root = make_tree(tmp_path / "photos", 3)
    alone = write(tmp_path / "report.csv", 20)
    result = await tree_uploader.put_tree([root, alone], manifest=manifest)
    assert (result.exit_code, result.verified_files) == (0, 4)
    assert many.paths() == paths_of(root) | {"report.csv": 1}


async def test_each_file_has_a_copy_at_each_destination(tmp_path: Path, manifest: Path) -> None:
    root = make_tree(tmp_path / "photos", 6)
    write(root / "film.mkv", 2 << 20)
    order = TreeOrder(destinations=("eu", "us"))
    async with serving(ManyCopies()) as copied, Uploader(copied.broker_url, KEY, retry=QUICK) as uploader:
        assert isinstance(copied, ManyCopies)
        result = await uploader.put_tree([root], order, manifest=manifest)
        assert [row.error_message for row in result.failures] == []
        assert (result.exit_code, result.verified_files, result.missing_copies) == (0, 7, 0)
        assert len(copied.objects) == 14
        puts = len(copied.puts)
        again = await uploader.put_tree([root], order, manifest=manifest)
        assert (again.exit_code, again.sent_files, len(copied.puts)) == (0, 0, puts)


async def test_a_copy_that_is_missing_is_sent_alone_by_the_same_command(tmp_path: Path, manifest: Path) -> None:
    root = make_tree(tmp_path / "photos", 3)
    order = TreeOrder(destinations=("eu", "us"))
    async with serving(ManyCopies(required=1)) as copied, Uploader(copied.broker_url, KEY, retry=QUICK) as uploader:
        assert isinstance(copied, ManyCopies)
        copied.down.add("us")
        result = await uploader.put_tree([root], order, manifest=manifest)
        assert (result.exit_code, result.missing_copies, result.failed_files, result.error) == (5, 3, 0, None)
        assert copied.sent_to["eu"] == 3
        copied.down.clear()
        again = await uploader.put_tree([root], order, manifest=manifest)
        assert (again.exit_code, again.missing_copies, again.verified_files) == (0, 0, 3)
        assert (copied.sent_to["eu"], len(copied.objects), len(copied.parents)) == (3, 6, 3)


async def test_a_session_in_parts_whose_answer_was_lost_is_not_sent_again(tmp_path: Path, manifest: Path) -> None:
    root = tmp_path / "films"
    write(root / "film.mkv", 4 << 20)
    async with (
        serving(ManyParts(part_size_bytes=1 << 20)) as parted,
        Uploader(parted.broker_url, KEY, retry=QUICK) as uploader,
    ):
        assert isinstance(parted, ManyParts)
        parted.broker_faults["complete"].extend(["busy"] * 4)
        first = await uploader.put_tree([root], manifest=manifest)
        assert (first.exit_code, set(states(manifest).values())) == (4, {"minted"})
        result = await uploader.put_tree([root], manifest=manifest)
        assert (result.exit_code, len(parted.sessions)) == (0, 1)
        assert set(parted.times_sent().values()) == {1}


async def test_a_manifest_goes_on_without_paths(
    tree_uploader: Uploader, many: Many, tmp_path: Path, manifest: Path
) -> None:
    root = make_tree(tmp_path / "photos", 5)
    many.store_faults.extend(["slow-down"] * 1_000)
    first = await tree_uploader.put_tree([root], TreeOrder(batch="b"), manifest=manifest)
    many.store_faults.clear()
    result = await tree_uploader.put_tree([], manifest=manifest)
    assert (first.exit_code, result.exit_code, result.verified_files) == (4, 0, 5)
    assert {session.wanted.batch for session in many.sessions.values()} == {"b"}
    assert {row.attempts for row in rows(manifest).values()} == {2}
