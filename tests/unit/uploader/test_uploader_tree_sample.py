"""`uploader sample`: the same options make the same tree, whatever its names, sizes and holes."""

import json
import os
import random
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from uploader import UploaderError
from uploader.__main__ import main
from uploader.tree.sample import ODD_NAMES, Sample
from uploader.tree.sizes import MAX_BYTES, UNITS, Sizes, parse_size

KIB = Sizes.parse("1KiB-8KiB")


def contents(root: Path) -> dict[bytes, tuple[bytes, int]]:
    """Bytes and modification time of each file."""
    found = {}
    for folder, _, names in os.walk(os.fsencode(root)):
        for name in names:
            path = folder + b"/" + name
            with open(path, "rb") as file:  # noqa: PTH123 - a path of bytes
                found[os.path.relpath(path, os.fsencode(root))] = file.read(), os.stat(path).st_mtime_ns  # noqa: PTH116
    return found


def test_the_same_order_makes_the_same_tree(tmp_path: Path) -> None:
    order = Sample(files=50, depth=3, sizes=KIB, seed=7, has_odd_names=True, empty=2, sparse_bytes=5_000)
    made = order.make(tmp_path / "a")
    assert order.make(tmp_path / "b") == made
    first, second = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert first == second
    assert (len(first), sum(len(data) for data, _ in first.values())) == (made.files, made.size_bytes)
    assert {path.count(b"/") for path in first if path.startswith(b"d")} == {3}


def test_another_seed_makes_other_bytes_under_the_same_names(tmp_path: Path) -> None:
    trees = []
    for seed in (1, 2):
        Sample(files=5, sizes=Sizes.parse("100"), seed=seed).make(tmp_path / str(seed))
        trees.append(contents(tmp_path / str(seed)))
    assert trees[0].keys() == trees[1].keys()
    assert not {data for data, _ in trees[0].values()} & {data for data, _ in trees[1].values()}


def test_no_two_files_are_equal(tmp_path: Path) -> None:
    Sample(files=300, depth=1, sizes=Sizes.parse("16")).make(tmp_path / "t")
    assert len({data for data, _ in contents(tmp_path / "t").values()}) == 300


def test_a_file_longer_than_the_block_has_its_size(tmp_path: Path) -> None:
    made = Sample(files=1, depth=0, sizes=Sizes.parse("3500KiB")).make(tmp_path / "t")
    assert (tmp_path / "t" / "f00000000.bin").stat().st_size == made.size_bytes == 3500 << 10


def test_odd_names_are_all_there_and_so_are_empty_and_sparse_files(tmp_path: Path) -> None:
    Sample(files=0, has_odd_names=True, empty=3, sparse_bytes=1 << 40).make(tmp_path / "t")
    assert set(os.listdir(os.fsencode(tmp_path / "t" / "odd"))) == set(ODD_NAMES)  # noqa: PTH208 - bytes
    assert [path.stat().st_size for path in (tmp_path / "t" / "empty").iterdir()] == [0, 0, 0]
    hole = (tmp_path / "t" / "sparse" / "sparse.bin").stat()
    assert (hole.st_size, hole.st_blocks < 1_000) == (1 << 40, True)


def test_links_share_one_file_until_it_has_enough_of_them(tmp_path: Path) -> None:
    made = Sample(files=4_000, depth=2, sizes=KIB, links=1_500).make(tmp_path / "t")
    seen = [path.stat() for path in (tmp_path / "t").rglob("*.bin")]
    assert (len(seen), len({each.st_ino for each in seen})) == (4_000, 3)
    assert sum(each.st_size for each in seen) == made.size_bytes


def test_files_are_spread_over_the_depth(tmp_path: Path) -> None:
    made = Sample(files=9_000, depth=2, sizes=Sizes.parse("0"), links=1_000).make(tmp_path / "t")
    assert made.directories == 3 + 9
    assert {len(list(leaf.iterdir())) for leaf in (tmp_path / "t").glob("*/*")} == {1_000}


def test_what_is_there_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(UploaderError, match="not empty"):
        Sample(files=1).make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_command_says_what_it_made(tmp_path: Path) -> None:
    arguments = ["sample", str(tmp_path / "t"), "--files", "3", "--size", "1KiB", "--sparse", "1MiB", "--odd"]
    done = CliRunner().invoke(main, [*arguments, "--json"])
    made = json.loads(done.stdout)
    assert made == {
        "files": 4 + len(ODD_NAMES),
        "directories": 4,
        "size_bytes": (1 << 20) + 1024 * (3 + len(ODD_NAMES)),
    }
    again = CliRunner().invoke(main, arguments)
    assert (again.exit_code, "not empty" in again.stderr) == (1, True)
    assert CliRunner().invoke(main, ["sample", str(tmp_path / "u"), "--files", "1", "--size", "x"]).exit_code == 2


@given(st.integers(0, 4_000_000), st.sampled_from(sorted(UNITS)), st.sampled_from(["", " "]))
def test_a_size_is_its_number_times_its_unit(number: int, unit: str, space: str) -> None:
    assert parse_size(f"{number}{space}{unit}") == number * UNITS[unit]


@given(st.text(max_size=12))
def test_any_other_text_is_no_size(text: str) -> None:
    with suppress(ValueError):
        assert 0 <= parse_size(text) <= MAX_BYTES


@pytest.mark.parametrize("text", ["", "-1", "1 kib", "2MiB-1MiB", "1KiB-", "99999999999999999999", "1e3", "٣"])
def test_a_wrong_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        Sizes.parse(text)


@given(st.integers(0, 1 << 50), st.integers(0, 1 << 50), st.integers(0, 99))
def test_a_drawn_size_is_in_its_range(one: int, other: int, seed: int) -> None:
    least, most = sorted((one, other))
    assert least <= Sizes(least_bytes=least, most_bytes=most).draw(random.Random(seed)) <= most


def test_half_a_unit_is_half_of_it() -> None:
    assert (parse_size("1.5KiB"), parse_size("0.001GB")) == (1536, 1_000_000)
