"""A walk finds every file once, passes over what cannot be sent with its reason, and ends."""

import errno
import fnmatch
import os
import re
import socket
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tree_manifests import write

from uploader.errors import FileUnusable
from uploader.tree import scan
from uploader.tree.filters import Filters, translate
from uploader.tree.sample import ODD_NAMES, Sample
from uploader.tree.scan import Found, PassedOver, Walk
from uploader.tree.sizes import Sizes


def walk(
    root: Path, *, include: list[str] | None = None, exclude: list[str] | None = None, follow: bool = False
) -> Walk:
    filters = Filters.parse(include or (), exclude or ())
    return Walk(root=os.fsencode(root), filters=filters, follows_symlinks=follow)


def found(order: Walk) -> set[bytes]:
    paths = [each.path for each in order if isinstance(each, Found)]
    assert len(paths) == len(set(paths))
    return set(paths)


def passed(order: Walk) -> dict[bytes, str]:
    return {each.path: each.code for each in order if isinstance(each, PassedOver)}


def files(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def test_every_file_is_found_once_with_size_time_and_mode(tmp_path: Path) -> None:
    Sample(files=3_000, depth=3, sizes=Sizes.parse("0-100"), has_odd_names=True, empty=2).make(tmp_path)
    expected = {}
    for folder, _, names in os.walk(os.fsencode(tmp_path)):
        for name in names:
            seen = os.lstat(folder + b"/" + name)
            relative = os.path.relpath(folder + b"/" + name, os.fsencode(tmp_path))
            expected[relative] = (seen.st_size, seen.st_mtime_ns, seen.st_mode & 0o7777)
    entries = [each for each in walk(tmp_path) if isinstance(each, Found)]
    assert {each.path: (each.size_bytes, each.mtime_ns, each.mode) for each in entries} == expected
    assert len(entries) == 3_000 + 2 + len(ODD_NAMES)


def test_a_root_that_is_a_file_is_one_file_without_a_path(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"123")
    assert [(each.path, each.size_bytes) for each in walk(tmp_path / "one") if isinstance(each, Found)] == [(b"", 3)]


@pytest.mark.parametrize("mtime", [-(10**10), -1, 0, 10**9, 15 * 10**9])
def test_a_time_that_a_manifest_cannot_have_is_the_nearest_that_it_can(tmp_path: Path, mtime: int) -> None:
    write(tmp_path / "odd", mtime=mtime)
    (at_ns,) = [each.mtime_ns for each in walk(tmp_path) if isinstance(each, Found)]
    seen_ns = (tmp_path / "odd").stat().st_mtime_ns
    assert at_ns == (seen_ns if abs(seen_ns) < 1 << 63 else (1 << 63) - 1)


@pytest.mark.parametrize("name", ["nowhere", "pipe"])
def test_a_root_that_cannot_be_walked_is_an_error(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileUnusable, match=name):
        iter(walk(tmp_path / name))


def test_special_files_are_passed_over_by_kind(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with tempfile.TemporaryDirectory(dir="/tmp") as short, socket.socket(socket.AF_UNIX) as door:
        door.bind(f"{short}/door")
        (entry,) = walk(Path(short))
        assert isinstance(entry, PassedOver)
        assert (entry.path, entry.code, entry.message) == (b"door", "special", "a socket")
    assert passed(walk(tmp_path)) == {b"pipe": "special"}


def test_links_are_passed_over_unless_they_are_followed(tmp_path: Path) -> None:
    files(tmp_path, "tree/a", "elsewhere/b")
    (tmp_path / "tree" / "file").symlink_to("a")
    (tmp_path / "tree" / "folder").symlink_to("../elsewhere")
    (tmp_path / "tree" / "nothing").symlink_to("gone")
    assert found(walk(tmp_path / "tree")) == {b"a"}
    assert set(passed(walk(tmp_path / "tree")).values()) == {"symlink"}
    assert found(walk(tmp_path / "tree", follow=True)) == {b"a", b"file", b"folder/b"}
    assert passed(walk(tmp_path / "tree", follow=True)) == {b"nothing": "dangling-symlink"}


def test_a_root_that_is_a_link_was_named_and_is_walked(tmp_path: Path) -> None:
    files(tmp_path, "tree/a")
    (tmp_path / "link").symlink_to("tree")
    assert found(walk(tmp_path / "link")) == {b"a"}


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    files(tmp_path, "a/x", "a/b/y")
    (tmp_path / "a" / "b" / "up").symlink_to("..")
    (tmp_path / "a" / "self").symlink_to("self")
    (tmp_path / "top").symlink_to(".")
    assert found(walk(tmp_path, follow=True)) == {b"a/x", b"a/b/y"}
    assert passed(walk(tmp_path, follow=True)) == {
        b"a/b/up": "symlink-loop",
        b"top": "symlink-loop",
        b"a/self": "unreadable",
    }


def test_two_links_to_one_directory_are_no_loop(tmp_path: Path) -> None:
    files(tmp_path, "real/x")
    (tmp_path / "one").symlink_to("real")
    (tmp_path / "two").symlink_to("real")
    assert found(walk(tmp_path, follow=True)) == {b"real/x", b"one/x", b"two/x"}


def test_a_directory_that_becomes_a_link_while_the_walk_is_under_way_is_not_entered(tmp_path: Path) -> None:
    files(tmp_path, "tree/a", "tree/sub/b", "secret/c")
    entries = iter(walk(tmp_path / "tree"))
    assert next(entries).path == b"a"  # and `sub` has been listed, or will be seen as the link that it is
    (tmp_path / "tree" / "sub" / "b").unlink()
    (tmp_path / "tree" / "sub").rmdir()
    (tmp_path / "tree" / "sub").symlink_to("../secret")
    rest = list(entries)
    assert [type(each) for each in rest] == [PassedOver]
    assert b"c" not in rest[0].path


def test_what_vanishes_during_the_walk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(tmp_path, "a", "b", "sub/c")
    real = os.scandir

    @contextmanager
    def slow(where: int) -> Iterator[list[os.DirEntry[str]]]:
        with real(where) as listing:
            entries = list(listing)
        (tmp_path / "a").unlink(missing_ok=True)
        if (tmp_path / "sub").exists():
            (tmp_path / "sub" / "c").unlink()
            (tmp_path / "sub").rmdir()
        yield entries

    monkeypatch.setattr(scan.os, "scandir", slow)
    order = list(walk(tmp_path))
    assert {each.path for each in order if isinstance(each, Found)} == {b"b"}
    assert {each.path: each.code for each in order if isinstance(each, PassedOver)} == dict.fromkeys(
        (b"a", b"sub"), "vanished"
    )


@pytest.mark.parametrize(
    ("number", "code", "is_unknown"), [(errno.EACCES, "unreadable", True), (errno.ENOENT, "vanished", False)]
)
def test_a_directory_that_cannot_be_opened_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str, is_unknown: bool
) -> None:
    files(tmp_path, "a", "shut/b")
    real = scan._open_directory

    def refuse(path: bytes, flags: int) -> int:  # by hand: whoever runs as root may read everything
        if path.endswith(b"/shut"):
            raise OSError(number, os.strerror(number))
        return real(path, flags)

    monkeypatch.setattr(scan, "_open_directory", refuse)
    (entry,) = (each for each in walk(tmp_path) if isinstance(each, PassedOver))
    assert (entry.path, entry.code, entry.is_directory) == (b"shut", code, is_unknown)
    assert found(walk(tmp_path)) == {b"a"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_without_permission_is_passed_over(tmp_path: Path) -> None:
    files(tmp_path, "a", "shut/b")
    (tmp_path / "shut").chmod(0)
    try:
        assert (found(walk(tmp_path)), passed(walk(tmp_path))) == ({b"a"}, {b"shut": "unreadable"})
    finally:
        (tmp_path / "shut").chmod(0o700)


def test_a_path_that_no_system_call_takes_is_passed_over(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    opened = [here]
    try:
        for _ in range(20):
            os.mkdir("n" * 250, dir_fd=opened[-1])
            opened.append(os.open("n" * 250, os.O_RDONLY, dir_fd=opened[-1]))
        assert set(passed(walk(tmp_path)).values()) == {"unreadable"}
    finally:
        for number, fileno in reversed(list(enumerate(opened))):
            if number + 1 < len(opened):
                os.rmdir("n" * 250, dir_fd=fileno)
        for fileno in opened:
            os.close(fileno)


def test_no_descriptor_is_left_open_by_a_walk_that_nobody_finishes(tmp_path: Path) -> None:
    Sample(files=30, depth=2, sizes=Sizes.parse("0")).make(tmp_path)
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208
    entries = iter(walk(tmp_path))
    next(entries)
    entries.close()  # type: ignore[attr-defined]
    list(walk(tmp_path))
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208


def test_memory_does_not_grow_with_the_subdirectories_of_one(tmp_path: Path) -> None:
    for number in range(3_000):
        (tmp_path / f"{number:05}").mkdir()
    tracemalloc.start()
    try:
        assert list(walk(tmp_path)) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200_000  # names of 6 bytes each; a list of paths would be five times as much


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ([], [], {"a.csv", "b.txt", "sub/c.csv", "sub/deep/d.csv", "sub/deep/e.log", "tmp/f.csv"}),
        (["*.csv"], [], {"a.csv", "sub/c.csv", "sub/deep/d.csv", "tmp/f.csv"}),
        (["/*.csv"], [], {"a.csv"}),
        (["sub/*.csv"], [], {"sub/c.csv"}),
        (["sub/**"], [], {"sub/c.csv", "sub/deep/d.csv", "sub/deep/e.log"}),
        (["**/d.csv", "b.???"], [], {"sub/deep/d.csv", "b.txt"}),
        (["deep/"], [], {"sub/deep/d.csv", "sub/deep/e.log"}),
        ([], ["tmp", "deep/"], {"a.csv", "b.txt", "sub/c.csv"}),
        ([], ["a.csv/"], {"a.csv", "b.txt", "sub/c.csv", "sub/deep/d.csv", "sub/deep/e.log", "tmp/f.csv"}),
        (["*.csv"], ["sub/deep", "[!a-c]*.csv"], {"a.csv", "sub/c.csv"}),
        ([], ["sub/**/*.csv", "b.txt", "tmp"], {"a.csv", "sub/deep/e.log"}),
    ],
)
def test_globs_say_which_files_are_meant(
    tmp_path: Path, include: list[str], exclude: list[str], expected: set[str]
) -> None:
    every = {"a.csv", "b.txt", "sub/c.csv", "sub/deep/d.csv", "sub/deep/e.log", "tmp/f.csv"}
    files(tmp_path, *every)
    order = walk(tmp_path, include=include, exclude=exclude)
    assert {os.fsdecode(path) for path in found(order)} == expected
    assert {path for path in every if order.filters.reaches(path)} == expected


def test_globs_see_names_that_are_not_utf_8(tmp_path: Path) -> None:
    Sample(files=0, has_odd_names=True).make(tmp_path)
    assert found(walk(tmp_path, include=["latin-1 caf?.txt"])) == {b"odd/latin-1 caf\xe9.txt"}
    assert found(walk(tmp_path, include=["new*line"])) == {b"odd/new\nline"}


@pytest.mark.parametrize("pattern", ["", "/", "//", "a\0b"])
def test_a_pattern_that_matches_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="matches nothing"):
        Filters.parse(exclude=[pattern])


names = st.text("ab[]!-*?c^", min_size=1, max_size=6)


@given(names, names)
def test_a_pattern_without_a_slash_means_what_it_means_to_fnmatch(pattern: str, name: str) -> None:
    ours = re.fullmatch(translate(pattern), name, re.DOTALL) is not None
    assert ours == fnmatch.fnmatchcase(name, pattern)


@given(st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=10).filter(lambda text: text.strip("/")))
def test_every_pattern_compiles_and_one_without_signs_matches_itself(text: str) -> None:
    expression = re.compile(translate(text), re.DOTALL)
    if not set(text) & set("*?[") and not text.startswith("/"):
        assert expression.fullmatch(text)
