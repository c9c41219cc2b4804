"""Trees that do not hold still: files that change, vanish or turn into something else between scan and reading."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from many_standin import Many, ManyParts
from tree_manifests import rows, states, write
from tree_tools import Onlooker, make_tree
from uploader_standin import KEY, QUICK, serving

from uploader import TreeOrder, Uploader

TIGHT = TreeOrder(memory_bytes=4 << 20, sequence="path")
"""Room for a few files of 1 MiB: the last of many is not read before the first were sent."""


def grow(path: Path) -> None:
    with path.open("ab") as out:
        out.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, 10)


def rewrite(path: Path) -> None:
    path.write_bytes(b"y" * path.stat().st_size)


def remove(path: Path) -> None:
    path.unlink()


def become_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def become_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def lose_its_directory(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()
    path.parent.write_bytes(b"")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for number in range(12):
        write(root / f"{number:02d}.jpg", 1 << 20)
    write(root / "z" / "last.jpg", 1 << 20)
    return root


def once(many: Many, change: Callable[[Path], None], path: Path) -> None:
    """When the first batch is asked for."""
    many.on_batch = lambda number: None if number else change(path)


@pytest.mark.parametrize("change", [grow, shrink, rewrite])
async def test_a_file_that_changed_after_the_scan_is_sent_as_it_is_now(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path, change: Callable[[Path], None]
) -> None:
    last = tree / "z" / "last.jpg"
    once(many, change, last)
    result = await tree_uploader.put_tree([tree], TIGHT, manifest=manifest)
    assert (result.exit_code, result.verified_files) == (0, 13)
    (session,) = [s for s in many.sessions.values() if s.wanted.filename == "last.jpg"]
    assert many.objects[session.key].content == last.read_bytes()
    assert rows(manifest)["z/last.jpg"].mtime_ns == last.stat().st_mtime_ns
    assert (await tree_uploader.put_tree([tree], TIGHT, manifest=manifest)).sent_files == 0


@pytest.mark.parametrize("change", [remove, become_a_link, become_a_pipe, become_a_directory, lose_its_directory])
async def test_a_file_that_is_none_any_more_has_vanished(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path, change: Callable[[Path], None]
) -> None:
    onlooker = Onlooker()
    once(many, change, tree / "z" / "last.jpg")
    result = await tree_uploader.put_tree([tree], TIGHT, manifest=manifest, observer=onlooker)
    assert (result.exit_code, result.verified_files, result.vanished_files) == (0, 12, 1)
    assert states(manifest)["z/last.jpg"] == "vanished"
    assert onlooker.meter.vanished_files == 1
    assert len(many.sessions) == 12


async def test_a_file_that_never_holds_still_fails(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    many.on_batch = lambda _: grow(tree / "z" / "last.jpg")
    for number in range(12, 40):  # so that it is read twice with a batch in between
        write(tree / "z" / f"z{number}.jpg", 1 << 20)
    result = await tree_uploader.put_tree([tree], TIGHT, manifest=manifest)
    (row,) = result.failures
    assert (result.exit_code, row.path, row.error_code) == (1, b"z/last.jpg", "file-changed")


async def test_a_large_file_that_grows_while_it_is_sent_is_sent_as_it_is_now(tmp_path: Path, manifest: Path) -> None:
    path = write(tmp_path / "films" / "film.mkv", 3 << 20)
    async with (
        serving(ManyParts(part_size_bytes=1 << 20)) as parted,
        Uploader(parted.broker_url, KEY, retry=QUICK) as uploader,
    ):
        assert isinstance(parted, ManyParts)
        once(parted, grow, path)
        result = await uploader.put_tree([path.parent], manifest=manifest)
        assert (result.exit_code, result.verified_files) == (0, 1)
        assert max(session.wanted.size_bytes for session in parted.sessions.values()) == (3 << 20) + 4
        assert [s.state.value for s in parted.sessions.values()] in (["aborted", "verified"], ["verified"])


async def test_a_change_between_two_runs_leaves_the_old_session_to_nobody(
    tree_uploader: Uploader, many: Many, tmp_path: Path, manifest: Path
) -> None:
    root = make_tree(tmp_path / "one", 1)
    many.broker_faults["completions"].extend(["busy"] * 4)
    assert (await tree_uploader.put_tree([root], manifest=manifest)).exit_code == 4
    grow(next(root.rglob("*.jpg")))
    result = await tree_uploader.put_tree([root], manifest=manifest)
    assert (result.exit_code, result.verified_files) == (0, 1)
    before, after = many.sessions.values()
    assert before.state.value in {"aborted", "verified"}  # whichever was first: the scan, or the broker's answer
    assert (after.state.value, after.wanted.size_bytes) == ("verified", 104)


async def test_a_link_in_a_large_file_s_place_leads_nowhere(tmp_path: Path, manifest: Path) -> None:
    secret = write(tmp_path / "secret", 2 << 20)
    for number in range(60):
        write(tmp_path / "photos" / f"{number:02d}.jpg", 2 << 20)
    last = tmp_path / "photos" / "59.jpg"

    def swap(_: int) -> None:
        if not last.is_symlink():
            last.unlink()
            last.symlink_to(secret)

    async with serving(ManyParts()) as many:
        assert isinstance(many, ManyParts)
        many.on_batch = swap  # of the first, when the others wait for a slot
        async with Uploader(many.broker_url, KEY, retry=QUICK) as uploader:
            result = await uploader.put_tree([tmp_path / "photos"], TreeOrder(sequence="path"), manifest=manifest)
    assert (result.exit_code, result.verified_files, result.vanished_files) == (0, 59, 1)
    assert len(many.objects) == 59


async def test_a_file_from_a_far_future_is_sent(tree_uploader: Uploader, tmp_path: Path, manifest: Path) -> None:
    for number, mtime in enumerate((1_000, 10**10, 15 * 10**9)):  # 2286 and 2445; SQLite's nanoseconds end in 2262
        write(tmp_path / "photos" / f"{number}.jpg", 100, mtime)
        write(tmp_path / "photos" / f"{number}.mkv", 2 << 20, mtime)
    result = await tree_uploader.put_tree([tmp_path / "photos"], manifest=manifest)
    assert (result.exit_code, result.verified_files) == (0, 6)
    assert (await tree_uploader.put_tree([tmp_path / "photos"], manifest=manifest)).sent_files == 0
