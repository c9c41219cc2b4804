"""Scans into a manifest: new, changed, unchanged, vanished, and what nobody can know."""

import os
import shutil
from pathlib import Path

import pytest
from tree_manifests import failed, mark, minted, opened, rows, scan, states, verify, write

from uploader.errors import FileUnusable
from uploader.tree import scan as scanning
from uploader.tree.reader import Reader
from uploader.tree.sample import ODD_NAMES, Sample
from uploader.tree.sizes import Sizes


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a", "b", "sub/c", "sub/deep/d"):
        write(tmp_path / "tree" / name)
    return tmp_path / "tree"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.sqlite"


def test_a_scan_of_an_unchanged_tree_writes_nothing(path: Path, tree: Path) -> None:
    (tree / "link").symlink_to("a")
    os.mkfifo(tree / "pipe")
    with opened(path, tree) as manifest:
        assert scan(manifest).new == 4
        verify(manifest, 2)
        before = rows(path)
        tally = scan(manifest)
    assert rows(path) == before  # `updated_ms`, too, with a clock that never says the same twice
    assert (tally.new, tally.changed, tally.unchanged, tally.passed_over, tally.vanished) == (0, 0, 4, 2, 0)


def test_a_changed_file_is_pending_again_and_no_other(path: Path, tree: Path) -> None:
    with opened(path, tree) as manifest:
        scan(manifest)
        verify(manifest)
        write(tree / "a", size_bytes=2)
        write(tree / "sub/c", mtime=1_001)
        (tree / "b").chmod(0o600)
        assert scan(manifest).changed == 2
    assert states(path) == {"a": "pending", "b": "verified", "sub/c": "pending", "sub/deep/d": "verified"}
    assert (rows(path)["a"].revision, rows(path)["a"].session_id, rows(path)["b"].mode) == (1, None, 0o600)


def test_a_vanished_file_is_noted_and_comes_back_as_what_it_was(path: Path, tree: Path) -> None:
    with opened(path, tree) as manifest:
        scan(manifest)
        (done,) = (os.fsdecode(row.path) for row in verify(manifest, 1))
        shutil.move(tree, tree.with_name("away"))
        tree.mkdir()
        assert scan(manifest).vanished == 4
        assert scan(manifest).vanished == 0
        assert states(path) == dict.fromkeys(rows(path), "vanished") | {done: "verified"}
        with Reader.open(path) as reader:
            assert reader.gone() == 4
        tree.rmdir()
        shutil.move(tree.with_name("away"), tree)
        assert scan(manifest).unchanged == 4
        assert states(path) == dict.fromkeys(rows(path), "pending") | {done: "verified"}
        with Reader.open(path) as reader:
            assert reader.gone() == 0


def test_a_root_that_is_away_makes_nothing_vanish(path: Path, tree: Path) -> None:
    with opened(path, tree) as manifest:
        scan(manifest)
        shutil.rmtree(tree)
        with pytest.raises(FileUnusable, match="No such file"):
            scan(manifest)
        with Reader.open(path) as reader:
            assert not reader.about().is_scanned
    assert set(states(path).values()) == {"pending"}


def test_what_is_behind_a_door_that_does_not_open_has_not_vanished(
    path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = scanning._open_directory

    def refuse(directory: bytes, flags: int) -> int:
        if directory.endswith(b"/sub"):
            raise PermissionError(13, "Permission denied")
        return real(directory, flags)

    with opened(path, tree) as manifest:
        scan(manifest)
        (tree / "a").unlink()
        monkeypatch.setattr(scanning, "_open_directory", refuse)
        assert scan(manifest).vanished == 1
        expected = {"a": "vanished", "b": "pending", "sub/c": "pending", "sub/deep/d": "pending"}
        assert states(path) == expected | {"sub": "skipped"}
        assert rows(path)["sub"].error_message == "Permission denied"
        monkeypatch.setattr(scanning, "_open_directory", real)
        scan(manifest)
        assert states(path) == expected


def test_what_is_left_out_later_is_skipped_and_comes_back(path: Path, tree: Path) -> None:
    with opened(path, tree) as manifest:
        assert scan(manifest, exclude=("deep",)).new == 3
        (done,) = (os.fsdecode(row.path) for row in verify(manifest, 1))
        others = {"a", "b", "sub/c"} - {done}
        scan(manifest, include=("nothing",))
        assert states(path) == {done: "verified"} | dict.fromkeys(others, "skipped")
        assert {rows(path)[name].error_code for name in others} == {"excluded"}
        assert manifest.take("size", 9).result() == []
        scan(manifest)
        assert states(path) == {done: "verified"} | dict.fromkeys({*others, "sub/deep/d"}, "pending")


def test_a_file_that_becomes_something_else_is_skipped(path: Path, tree: Path) -> None:
    with opened(path, tree) as manifest:
        scan(manifest)
        (tree / "a").unlink()
        (tree / "a").symlink_to("b")
        shutil.rmtree(tree / "sub")
        write(tree / "sub")
        scan(manifest)
        assert states(path) == {
            "a": "skipped",
            "b": "pending",
            "sub": "pending",
            "sub/c": "vanished",
            "sub/deep/d": "vanished",
        }
        (tree / "a").unlink()
        scan(manifest)
        assert "a" not in states(path)  # nothing was ever sent of it


def test_a_scan_leaves_a_failure_for_retry_and_a_session_to_its_sender(path: Path, tree: Path) -> None:
    with opened(path, tree) as manifest:
        scan(manifest)
        first, second, third, _ = manifest.take("size", 9).result()
        manifest.failed([failed(first)])
        manifest.minted([minted(second), minted(third)])
        manifest.sent([mark(third)]).result()
        before = states(path)
        scan(manifest)
        assert states(path) == before
        assert sorted(before.values()) == ["claimed", "failed", "minted", "sent"]


def test_several_roots_keep_apart(path: Path, tmp_path: Path, tree: Path) -> None:
    write(tmp_path / "other" / "a", 5)
    single = write(tmp_path / "single", 7)
    with opened(path, tree, tmp_path / "other", single) as manifest:
        assert scan(manifest).new == 6
        assert scan(manifest).unchanged == 6
        (tmp_path / "other" / "a").unlink()
        assert scan(manifest).vanished == 1
        taken = manifest.take("size", 9).result()
    assert {row.absolute for row in taken} == {
        os.fsencode(each) for each in (tree / "a", tree / "b", tree / "sub/c", tree / "sub/deep/d", single)
    }


def test_names_survive_whatever_their_bytes(path: Path, tmp_path: Path) -> None:
    Sample(files=0, has_odd_names=True).make(tmp_path / "tree")
    with opened(path, tmp_path / "tree") as manifest:
        scan(manifest)
        taken = manifest.take("path", 100).result()
    assert {row.path.removeprefix(b"odd/") for row in taken} == set(ODD_NAMES)
    assert all(os.path.exists(row.absolute) for row in taken)  # noqa: PTH110 - bytes


def test_more_files_than_a_batch_are_all_there_once(path: Path, tmp_path: Path) -> None:
    Sample(files=5_003, depth=1, sizes=Sizes.parse("0"), links=1_000).make(tmp_path / "tree")
    with opened(path, tmp_path / "tree") as manifest:
        assert scan(manifest).new == 5_003
        assert (tally := scan(manifest)).unchanged == 5_003
        assert (tally.new, tally.vanished) == (0, 0)
        shutil.rmtree(tmp_path / "tree" / "d002")
        assert scan(manifest).vanished == 1_000
    assert len(rows(path)) == 5_003


def test_a_name_that_is_listed_twice_is_one_file(path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = scanning.Walk._tree
    monkeypatch.setattr(scanning.Walk, "_tree", lambda walk: (each for entry in real(walk) for each in (entry, entry)))
    with opened(path, tree) as manifest:
        assert scan(manifest).new == 4
        scan(manifest)
    assert len(rows(path)) == 4
