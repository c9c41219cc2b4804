"""The manifest: what it serves, in which order, to whom, and what it refuses."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tree_manifests import BROKER, failed, identity, mark, minted, opened, rows, scan, states, verify, write

from uploader.tree.errors import ManifestBusy, ManifestUnusable
from uploader.tree.identity import Identity
from uploader.tree.manifest import Manifest
from uploader.tree.reader import Reader
from uploader.tree.rows import SORTED, Mark, Order
from uploader.tree.sample import Sample
from uploader.tree.schema import MIGRATIONS
from uploader.tree.sizes import Sizes
from uploader.tree.states import FileState


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, size, mtime in (("c", 3, 30), ("sub/a", 1, 20), ("b", 2, 10), ("sub/d", 4, 40)):
        write(tmp_path / "tree" / name, size, mtime)
    return tmp_path / "tree"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "m.sqlite"


@pytest.fixture
def manifest(path: Path, tree: Path) -> Iterator[Manifest]:
    with opened(path, tree) as manifest:
        yield manifest


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("size", ["sub/a", "b", "c", "sub/d"]),
        ("path", ["b", "c", "sub/a", "sub/d"]),
        ("mtime", ["b", "sub/a", "c", "sub/d"]),
    ],
)
def test_files_are_served_in_the_wished_order_and_each_once(
    manifest: Manifest, order: Order, expected: list[str]
) -> None:
    scan(manifest)
    manifest.serve(order).result()
    taken = [manifest.take(order, 3).result(), manifest.take(order, 3).result(), manifest.take(order, 3).result()]
    assert [len(each) for each in taken] == [3, 1, 0]
    assert [os.fsdecode(row.path) for each in taken for row in each] == expected


@pytest.mark.parametrize("order", ["size", "path", "mtime"])
def test_the_next_files_are_found_without_a_scan_or_a_sort(manifest: Manifest, order: Order) -> None:
    manifest.serve(order).result()
    statement = f"EXPLAIN QUERY PLAN SELECT id FROM file WHERE state = 'pending' ORDER BY {SORTED[order]} LIMIT 9"  # noqa: S608
    plan = manifest.write(lambda connection: connection.execute(statement).fetchall()).result()
    assert [each[3] for each in plan] == [f"SEARCH file USING COVERING INDEX file_by_{order} (state=?)"]


def test_a_file_goes_step_by_step_and_each_step_once(manifest: Manifest, path: Path) -> None:
    scan(manifest)
    (row,) = manifest.take("size", 1).result()
    assert manifest.sent([mark(row)]).result() == 0  # not minted
    assert manifest.minted([minted(row, "S1")]).result() == 1
    assert (manifest.sent([mark(row)]).result(), manifest.sent([mark(row)]).result()) == (1, 0)
    assert (manifest.verified([mark(row)]).result(), manifest.failed([failed(row)]).result()) == (1, 0)
    known = rows(path)["sub/a"]
    assert (known.state, known.session_id, known.attempts) == (FileState.VERIFIED, "S1", 1)


def test_a_mark_of_an_older_revision_is_left_alone(manifest: Manifest, path: Path, tree: Path) -> None:
    scan(manifest)
    (row,) = manifest.take("size", 1).result()
    manifest.minted([minted(row, "S1")])
    write(tree / "sub/a", 5, 21)
    scan(manifest)
    assert manifest.verified([mark(row)]).result() == 0
    known = rows(path)["sub/a"]
    assert (known.state, known.revision, known.session_id, known.size_bytes) == (FileState.PENDING, 1, None, 5)
    assert manifest.idempotency_key(known) != manifest.idempotency_key(row)
    assert manifest.abandoned(9).result() == ["S1"]
    manifest.forget(["S1"]).result()
    assert manifest.abandoned(9).result() == []


def test_what_failed_waits_for_retry_and_gets_another_session(manifest: Manifest, path: Path) -> None:
    scan(manifest)
    for code, row in zip(("file-unusable", "store-refused"), manifest.take("size", 2).result(), strict=True):
        manifest.minted([minted(row)])
        manifest.failed([failed(row, code)])
    scan(manifest)
    assert sorted(states(path).values()) == ["failed", "failed", "pending", "pending"]
    assert rows(path)["b"].error_message == "about store-refused"
    assert manifest.retry(["store-refused"]).result() == 1
    known = rows(path)["b"]
    assert (known.state, known.revision, known.session_id, known.error_code, known.attempts) == (
        FileState.PENDING,
        1,
        None,
        None,
        1,
    )
    assert (manifest.retry().result(), manifest.retry().result()) == (1, 0)
    assert len(manifest.abandoned(9).result()) == 2


def test_a_released_file_keeps_its_key_and_a_renewed_one_does_not(manifest: Manifest) -> None:
    scan(manifest)
    first, second = manifest.take("size", 2).result()
    manifest.minted([minted(first), minted(second)])
    manifest.released([mark(first)])
    manifest.renewed([mark(second)])
    again = manifest.take("size", 2).result()
    assert [row.revision for row in again] == [0, 1]
    assert [row.session_id for row in again] == [f"session-{first.id}-0", None]


def test_what_a_process_had_in_its_hands_is_pending_for_the_next(path: Path, tree: Path) -> None:
    with opened(path, tree) as manifest:
        scan(manifest)
        first, *_ = manifest.take("size", 3).result()
        manifest.minted([minted(first)])
    with opened(path, tree) as manifest:
        assert [row.id for row in manifest.unsettled(9).result()] == [first.id]
        assert manifest.unsettled(9, after=first.id).result() == []
        assert len(manifest.take("size", 9).result()) == 3


@pytest.mark.usefixtures("manifest")
def test_a_second_process_says_so_in_one_sentence(path: Path, tree: Path) -> None:
    with pytest.raises(ManifestBusy) as caught, Manifest.open(path, identity(tree)):
        pass
    assert caught.value.message == f"{path}: another uploader is at work on it (process {os.getpid()})"


def test_the_lock_of_a_killed_process_is_open(path: Path, tree: Path) -> None:
    words = (
        "import sys, pathlib; from uploader.tree.lock import locked; p = pathlib.Path(sys.argv[1])\n"
        "with locked(p): print('mine', flush=True); sys.stdin.read()"
    )
    path.parent.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", words, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"mine\n"
        with pytest.raises(ManifestBusy, match=f"process {other.pid}"), opened(path, tree):
            pass
        other.kill()
        other.wait(20)
    with opened(path, tree) as manifest:
        assert scan(manifest).new == 4


def test_readers_see_what_is_committed_while_somebody_writes(manifest: Manifest, path: Path) -> None:
    scan(manifest)
    verify(manifest, 2)
    with Reader.open(path) as reader:
        assert reader.about().is_scanned
        counts = {state: count for state, count in reader.counts().items() if count.files}
        assert {state: (count.files, count.size_bytes) for state, count in counts.items()} == {
            FileState.VERIFIED: (2, 3),
            FileState.PENDING: (2, 7),
        }
        assert [row.absolute for row in reader.rows([FileState.PENDING])] == [
            each for each in (row.absolute for row in reader.rows()) if each.endswith((b"c", b"d"))
        ]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._connection.execute("DELETE FROM file")


def test_work_that_fails_takes_no_other_with_it(manifest: Manifest, path: Path) -> None:
    scan(manifest)

    def spoil(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM file")
        raise LookupError("mine")

    before, spoiled = manifest.take("size", 1), manifest.write(spoil)
    after = manifest.take("size", 1)
    assert len(before.result()) == len(after.result()) == 1
    with pytest.raises(LookupError, match="mine"):
        spoiled.result()
    assert len(rows(path)) == 4


def test_a_statement_that_fails_is_an_error_and_the_writer_lives(manifest: Manifest) -> None:
    with pytest.raises(ManifestUnusable, match="no such table"):
        manifest.write(lambda connection: connection.execute("DELETE FROM nowhere")).result()
    assert scan(manifest).new == 4


def test_a_full_disk_is_said_and_loses_nothing_that_was_acknowledged(path: Path, tmp_path: Path) -> None:
    Sample(files=3_000, depth=1, sizes=Sizes.parse("0"), links=1_000).make(tmp_path / "many")
    with opened(path, tmp_path / "many") as manifest:
        manifest.write(lambda connection: connection.execute("PRAGMA max_page_count = 80").fetchone()).result()
        with pytest.raises(ManifestUnusable, match="full"):
            scan(manifest)
        kept = len(rows(path))
        manifest.write(lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchone()).result()
        tally = scan(manifest)
    assert (tally.new + kept, tally.unchanged, len(rows(path))) == (3_000, kept, 3_000)


def test_a_closed_manifest_says_so(path: Path, tree: Path) -> None:
    with opened(path, tree) as manifest:
        pass
    with pytest.raises(ManifestUnusable, match="closed"):
        manifest.take("size", 1)


def test_only_the_owner_may_read_it(manifest: Manifest, path: Path) -> None:
    scan(manifest)
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_disk_that_does_not_take_it_is_said(tmp_path: Path, tree: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ManifestUnusable, match=r"/file: File exists"), opened(tmp_path / "file" / "m.sqlite", tree):
        pass


def test_a_manifest_of_another_upload_is_refused(path: Path, tree: Path, tmp_path: Path) -> None:
    with opened(path, tree):
        pass
    for other, words in (
        (Identity.of("http://other", [], "b", [tree]), f"to the broker {BROKER}"),
        (identity(tree, destinations=("eu",)), "to the default destination"),
        (identity(tree, batch="c"), "batch 'b'"),
        (identity(tmp_path), "of other paths"),
    ):
        with pytest.raises(ManifestUnusable, match=words), Manifest.open(path, other):
            pass


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"not a database, but long enough to be seen as none" * 20, "not a database"), (None, "no manifest of uploader")],
)
def test_a_file_that_is_no_manifest_is_not_touched(path: Path, tree: Path, content: bytes | None, words: str) -> None:
    path.parent.mkdir()
    if content is None:
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE cookies (name)")
        other.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(ManifestUnusable, match=words), opened(path, tree):
        pass
    with pytest.raises(ManifestUnusable, match=words), Reader.open(path):
        pass
    assert path.read_bytes() == before


def test_a_newer_manifest_is_refused_and_a_missing_one_is_not_made(path: Path, tree: Path) -> None:
    with pytest.raises(ManifestUnusable, match="no such manifest"), Reader.open(path):
        pass
    with pytest.raises(ManifestUnusable, match="no such manifest"), Manifest.open(path):
        pass
    assert not path.exists()
    empty = write(tree / "empty", 0)
    with pytest.raises(ManifestUnusable, match="no such manifest"), Manifest.open(empty):
        pass
    assert empty.stat().st_size == 0
    with opened(path, tree) as manifest:
        manifest.write(lambda connection: connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")).result()
    with pytest.raises(ManifestUnusable, match="newer uploader"), opened(path, tree):
        pass
    with pytest.raises(ManifestUnusable, match="newer uploader"), Reader.open(path):
        pass


def test_a_manifest_can_be_opened_by_its_name_alone(path: Path, tree: Path) -> None:
    with opened(path, tree) as manifest:
        scan(manifest)
    with Manifest.open(path) as manifest:
        assert manifest.about.roots == (os.fsencode(tree),)
        assert len(manifest.take("size", 9).result()) == 4


def test_the_same_upload_has_the_same_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a" / "x")
    write(tmp_path / "b" / "y")
    one = Identity.of("http://h/", ["us", "eu"], "b", ["a", "b", "a/../b"])
    same = Identity.of("http://h", ["eu", "us"], "b", [tmp_path / "b", bytes(tmp_path / "a")])
    assert one == same
    assert one.manifest(tmp_path) == same.manifest(tmp_path)
    others = [
        Identity.of("http://i", ["us", "eu"], "b", ["a", "b"]),
        Identity.of("http://h", ["us"], "b", ["a", "b"]),
        Identity.of("http://h", ["us", "eu"], "c", ["a", "b"]),
        Identity.of("http://h", ["us", "eu"], "b", ["a"]),
    ]
    assert len({each.manifest(tmp_path) for each in (one, *others)}) == 5


@pytest.mark.parametrize("paths", [["a", "a/b"], ["a/b/c", "a"], ["/", "a"], []])
def test_roots_inside_each_other_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"sent twice|no path"):
        Identity.of("http://h", [], "", paths)
    assert len(Identity.of("http://h", [], "", ["a", "a.b", "ab"]).roots) == 3


def test_a_claim_is_of_one_taker(manifest: Manifest) -> None:
    scan(manifest)
    both = [manifest.take("size", 3), manifest.take("size", 3)]
    taken = [row.id for each in both for row in each.result()]
    assert len(taken) == len(set(taken)) == 4
    assert manifest.released([Mark(id=each, revision=0) for each in taken]).result() == 4
    assert len(manifest.take("size", 9).result()) == 4
