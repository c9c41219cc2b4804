"""`put --dry-run`: the same verdicts as a scan would come to, and nothing is touched."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tree_manifests import BROKER, failed, identity, minted, opened, scan, verify, write

from uploader.__main__ import main


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for number, name in enumerate(("a", "b", "c", "sub/d")):
        write(tmp_path / "tree" / name, 1024 * (number + 1))
    (tmp_path / "tree" / "link").symlink_to("a")
    return tmp_path / "tree"


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("BROKER_URL", BROKER)
    monkeypatch.delenv("BROKER_API_KEY", raising=False)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["put", "--dry-run", *map(str, arguments)])


def said(*arguments: str | Path) -> tuple[dict[str, tuple[str, int]], dict[str, Any]]:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    *files, total = map(json.loads, done.stdout.splitlines())
    assert {each["event"] for each in files} <= {"file.previewed"}
    assert total["event"] == "tree.previewed"
    return {Path(each["path"]).name: (each["verdict"], each["size_bytes"]) for each in files}, total


def listing(directory: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in directory.rglob("*"))


def test_of_a_new_tree_all_is_new_and_nothing_is_written(tree: Path, tmp_path: Path) -> None:
    before = listing(tmp_path)
    done = run(tree)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        f"skipped: {tree}/link: a symbolic link, and links are not followed [symlink]",
        f"dry run: nothing is sent and nothing is written; to the default destination by {BROKER}",
        f"  {tree}",
        "  no put has been here before: everything is new",
        "  to send                   4 files, 10.00 KiB",
        "  skipped                   1 (1 symlink)",
    ]
    assert listing(tmp_path) == before


def test_against_a_manifest_each_file_has_the_verdict_of_a_scan(tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    for name in ("e", "f"):
        write(tree / name, 1 << 20)
    with opened(path, tree) as manifest:
        scan(manifest)
        verify(manifest, 2)
        (row,) = manifest.take("size", 1).result()
        manifest.minted([minted(row)])
        manifest.failed([failed(row)]).result()
    write(tree / "new", 7)
    write(tree / "a", 5)
    (tree / "f").unlink()
    before = path.read_bytes()
    files, total = said(tree, "--manifest", path, "--batch", "b")
    assert files == {
        "a": ("changed", 5),
        "new": ("new", 7),
        "c": ("failed", 3072),
        "d": ("unfinished", 4096),
        "e": ("unfinished", 1 << 20),
        "link": ("skipped", 0),
    }
    assert total["files"] == {"new": 1, "changed": 1, "unfinished": 2, "verified": 1, "failed": 1, "skipped": 1}
    assert (total["to_send_files"], total["to_send_bytes"]) == (4, 12 + 4096 + (1 << 20))
    assert (total["manifest"], total["skipped"]) == (str(path), {"symlink": 1})
    assert path.read_bytes() == before
    lines = run("--manifest", path).stdout.splitlines()  # roots and batch are the manifest's
    assert f"  against {path}" in lines
    assert "    changed                 1 file, 5 B" in lines
    assert "  verified                  1 file, 2.00 KiB, as they are" in lines
    assert "  failed                    1 file, 3.00 KiB, until `uploader retry`" in lines
    with opened(path, tree) as manifest:
        tally = scan(manifest)
    assert (tally.new, tally.changed) == (1, 1)


def test_a_manifest_is_found_by_the_words_of_put(tree: Path, tmp_path: Path) -> None:
    wanted = identity(tree)
    with opened(wanted.manifest(tmp_path / "state" / "upload-broker"), tree) as manifest:
        scan(manifest)
        verify(manifest)
    assert said(tree, "--batch", "b")[1]["files"]["verified"] == 4
    assert said(tree, "--batch", "c")[1]["files"]["verified"] == 0


def test_filters_and_links_are_as_put_takes_them(tree: Path) -> None:
    assert set(said(tree, "--exclude", "sub/", "--exclude", "[ab]")[0]) == {"c", "link"}
    assert set(said(tree, "--include", "sub/")[0]) == {"d"}
    assert said(tree, "--follow-symlinks")[0]["link"] == ("new", 1024)
    assert said(tree / "a", tree / "sub")[1]["to_send_files"] == 2
    assert run(tree, "--exclude", "/").exit_code == 2


def test_of_many_that_are_skipped_a_few_are_named(tree: Path) -> None:
    for number in range(25):
        (tree / f"link{number}").symlink_to("a")
    os.mkfifo(tree / "fifo")
    lines = run(tree).stdout.splitlines()
    assert sum("[symlink]" in line and "tree/link" in line for line in lines) == 10
    assert "skipped: and 16 more [symlink]" in lines
    assert f"skipped: {tree}/fifo: a named pipe [special]" in lines
    assert lines[-1] == "  skipped                  27 (1 special, 26 symlink)"


def test_what_cannot_be_walked_is_said(tree: Path, tmp_path: Path) -> None:
    assert run(tree, tree / "sub").exit_code == 2
    assert run(tmp_path / "no").exit_code == 2
    assert run().exit_code == 2
    os.mkfifo(tree / "fifo")
    done = run(tree / "fifo")
    assert (done.exit_code, done.stderr) == (1, f"error: {tree}/fifo: a named pipe\n")
    other = tmp_path / "other.sqlite"
    other.write_text("no database at all, but some text")
    done = run(tree, "--manifest", other)
    assert (done.exit_code, done.stdout) == (1, "")


def test_names_of_any_bytes_are_one_line_each(tree: Path) -> None:
    (tree / "bad\nname\x1b").symlink_to("a")
    assert f"{tree}/bad\\nname\\x1b: a symbolic link" in run(tree).stdout
