"""A tree comes back as it was, goes on where it stopped, and lands below its directory whatever its sessions say."""

import asyncio
import base64
import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from listing_standin import ListingStandIn
from uploader_standin import Recorder

from broker.contract import State
from uploader import BrokerRefused, FileUnusable, Unreachable, Uploader
from uploader.attributes import Attributes, located
from uploader.restore.claims import Claim, Claims, folded
from uploader.restore.events import FileNotSaved, FileSkipped
from uploader.restore.folder import Folder
from uploader.restore.paths import PathRefused, parts_of
from uploader.restore.result import TreeDownload
from uploader.restore.run import _ends_all
from uploader.restore.there import is_of

MTIME = {"mtime": "1000000000.5", "mode": "0640"}
MTIME_NS = 1_000_000_000_500_000_000
LARGE = b"0123456789abcdef" * (1 << 17)  # 2 MiB: not read to see whether it is there, if its time tells


async def tree(uploader: Uploader, directory: Path, **how: object) -> TreeDownload:
    async with asyncio.timeout(30):
        return await uploader.get_tree(directory, batch="b", **how)  # type: ignore[arg-type]


def add(standin: ListingStandIn, path: str | bytes, content: bytes = b"bytes", **how: object) -> str:
    metadata = {"path": path} if isinstance(path, str) else {"path_base64": base64.b64encode(path).decode()}
    how = {"attributes": MTIME, "batch": "b", "metadata": metadata} | how
    return standin.add(content, **how).id  # type: ignore[arg-type]


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def seen(directory: Path) -> dict[Path, tuple[int, int]]:
    found = {path: path.stat() for path in directory.rglob("*") if path.is_file()}
    return {path: (each.st_ino, each.st_mtime_ns) for path, each in found.items()}


async def test_a_tree_comes_back_with_paths_times_and_permissions(
    listed: ListingStandIn, listed_uploader: Uploader, tmp_path: Path
) -> None:
    contents = {f"photos/{n % 3}/{n}.jpg": bytes([n]) * n for n in range(20)} | {"photos/large": LARGE}
    for path, content in contents.items():
        add(listed, path, content)
    add(listed, "photos/other", batch="other")
    result = await tree(listed_uploader, tmp_path / "new" / "out", jobs=4)
    assert files(tmp_path / "new" / "out") == contents
    assert (result.saved_files, result.saved_bytes) == (21, sum(map(len, contents.values())))
    assert (result.exit_code, result.failed_files, result.skipped_files) == (0, 0, 0)
    one = (tmp_path / "new/out/photos/1/1.jpg").stat()
    assert (one.st_mtime_ns, stat.S_IMODE(one.st_mode)) == (MTIME_NS, 0o640)


async def test_names_that_are_no_text_come_back_byte_for_byte(
    listed: ListingStandIn, listed_uploader: Uploader, tmp_path: Path
) -> None:
    names = [b"caf\xe9", b"new\nline", b"\x1b[2J", "\u202egpj.exe".encode(), b"x" * 255, b"\\back", b" ", b"-rf"]
    for name in names:
        listed.add(name, metadata=located(b"/home/me/odd", name), batch="b")
    assert (await tree(listed_uploader, tmp_path)).saved_files == len(names)
    assert {os.fsencode(path.name): path.read_bytes() for path in (tmp_path / "odd").iterdir()} == {n: n for n in names}


@pytest.mark.parametrize("declares", [True, False])
async def test_the_same_call_again_fetches_nothing(
    listed: ListingStandIn, listed_uploader: Uploader, tmp_path: Path, recorder: Recorder, *, declares: bool
) -> None:
    add(listed, "a/small", b"small", declares=declares)
    add(listed, "a/large", LARGE, declares=declares)
    add(listed, "a/empty", b"", declares=declares)
    await tree(listed_uploader, tmp_path)
    before = seen(tmp_path)
    listed.ranges.clear()
    result = await tree(listed_uploader, tmp_path, observer=recorder)
    assert (result.skipped_files, result.saved_files, result.exit_code) == (3, 0, 0)
    assert seen(tmp_path) == before
    assert len(recorder.of(FileSkipped)) == 3
    assert len(listed.ranges) <= (1 if declares else 3)  # small ones are compared by their digest, unasked


async def test_without_attributes_the_digest_tells_what_is_there(
    listed: ListingStandIn, listed_uploader: Uploader, tmp_path: Path
) -> None:
    add(listed, "a/small", b"small")
    add(listed, "a/large", LARGE)
    await tree(listed_uploader, tmp_path, attributes=False)
    assert (tmp_path / "a/small").stat().st_mtime_ns != MTIME_NS
    assert (await tree(listed_uploader, tmp_path, attributes=False)).skipped_files == 2


async def test_a_file_that_differs_stands_unless_it_is_to_be_replaced(
    listed: ListingStandIn, listed_uploader: Uploader, tmp_path: Path
) -> None:
    for name, content in (("size", b"bytes"), ("content", b"bytes"), ("large", LARGE), ("folder", b"bytes")):
        add(listed, f"a/{name}", content)
    add(listed, "a/link")
    (tmp_path / "a" / "folder").mkdir(parents=True)
    mine = {"size": b"other size", "content": b"other", "large": b"x" * len(LARGE)}
    for name, content in mine.items():
        (tmp_path / "a" / name).write_bytes(content)
    (tmp_path / "a" / "link").symlink_to("content")
    result = await tree(listed_uploader, tmp_path)
    assert (result.failed_files, result.saved_files, result.exit_code) == (5, 0, 1)
    assert {failure.error.message.rpartition(": ")[2] for failure in result.failures} == {"exists already"}
    assert files(tmp_path / "a") == mine | {"link": b"other"}
    again = await tree(listed_uploader, tmp_path, replace=True)
    assert (again.saved_files, [failure.path for failure in again.failures]) == (4, [b"a/folder"])
    assert files(tmp_path / "a") == {"size": b"bytes", "content": b"bytes", "large": LARGE, "link": b"bytes"}
    assert not (tmp_path / "a" / "link").is_symlink()


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../up", "a/../../up", "a/..", "..", ".", "a/./b", "a//b", "a/", "//a", "a/b/../c"),
        *(b"a\0b", b"/", b"\0", b"../\xff", b"a" * 256, b"a/" * 2100 + b"a"),
        "a/x.00" + "a" * 26 + ".part",
    ],
)
async def test_a_path_that_leads_elsewhere_is_refused_and_the_rest_goes_on(
    listed: ListingStandIn, listed_uploader: Uploader, tmp_path: Path, path: str | bytes
) -> None:
    out = tmp_path / "in" / "out"
    session = add(listed, path)
    add(listed, "good")
    result = await tree(listed_uploader, out)
    assert [(each.session_id, each.error.code) for each in result.failures] == [(session, "path-refused")]
    assert (result.saved_files, result.exit_code) == (1, 1)
    assert files(tmp_path) == {"in/out/good": b"bytes"}


@given(st.binary(max_size=40) | st.text(alphabet="./ab", max_size=12).map(str.encode))
def test_whatever_passes_stays_below(path: bytes) -> None:
    try:
        parts = parts_of(path)
    except PathRefused:
        return
    assert os.path.normpath(b"/root/" + path) == b"/root/" + b"/".join(parts)
    assert b"/".join(parts) == path


@pytest.mark.parametrize("target", ["..", "../elsewhere", "real", "real/deep"])
async def test_no_symbolic_link_is_followed_on_the_way(
    listed: ListingStandIn, listed_uploader: Uploader, tmp_path: Path, target: str
) -> None:
    out = tmp_path / "out"
    (out / "real" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (out / "link").symlink_to(target)
    add(listed, "link/file")
    add(listed, "link/deep/file")
    result = await tree(listed_uploader, out, replace=True)
    assert result.failed_files == 2
    assert "a symbolic link is where a directory should be" in result.failures[0].error.message
    assert files(tmp_path) == {}


async def test_the_directory_itself_may_be_a_link(
    listed: ListingStandIn, listed_uploader: Uploader, tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    add(listed, "a")
    assert (await tree(listed_uploader, tmp_path / "out")).exit_code == 0
    assert files(tmp_path / "real") == {"a": b"bytes"}


def test_a_directory_that_becomes_a_link_meanwhile_leads_nowhere(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path / "out")
    landing = folder.landing((b"a", b"b", b"file"))
    (tmp_path / "out/a").rename(tmp_path / "out/moved")
    (tmp_path / "elsewhere/b").mkdir(parents=True)
    (tmp_path / "out/a").symlink_to(tmp_path / "elsewhere")
    part = landing.open_part("0" * 28)
    part.out.write(b"bytes")
    part.publish(replaces=False)
    part.close()
    landing.close()
    with pytest.raises(FileUnusable, match="symbolic link"):
        folder.landing((b"a", b"b", b"file"))
    folder.close()
    assert files(tmp_path) == {"out/moved/b/file": b"bytes"}


async def test_of_a_file_that_was_uploaded_again_the_newest_is_restored(
    listed: ListingStandIn, listed_uploader: Uploader, tmp_path: Path
) -> None:
    add(listed, "a", b"old")
    add(listed, "a", b"newer")
    add(listed, "a", b"broken", state=State.REJECTED)
    add(listed, "a", b"on its way", state=State.PENDING)
    result = await tree(listed_uploader, tmp_path)
    assert files(tmp_path) == {"a": b"newer"}
    assert (result.saved_files, result.older_files, result.failed_files, result.exit_code) == (1, 1, 0, 0)
    assert result.absent == {"rejected": 1, "pending": 1}


async def test_files_of_two_owners_with_one_path_are_not_taken_for_versions(
    listed: ListingStandIn, listed_uploader: Uploader, tmp_path: Path
) -> None:
    add(listed, "a", b"of one", owner="one")
    add(listed, "a", b"of two", owner="two")
    result = await tree(listed_uploader, tmp_path)
    assert [(each.path, each.error.code) for each in result.failures] == [(b"a", "name-taken")]
    assert (await tree(listed_uploader, tmp_path / "one", owner="one")).exit_code == 0
    assert files(tmp_path) == {"a": b"of two", "one/a": b"of one"}


async def test_sessions_without_a_path_are_named_by_their_file_names(
    listed: ListingStandIn, listed_uploader: Uploader, tmp_path: Path
) -> None:
    listed.add(b"1", filename="../../report.csv", batch="b")
    listed.add(b"2", filename="report.csv", batch="b")
    nameless = listed.add(b"3", filename="..", batch="b", metadata={"path_base64": "no base64"})
    result = await tree(listed_uploader, tmp_path)
    assert [each.error.code for each in result.failures] == ["name-taken"]  # no versions: they are just called the same
    assert files(tmp_path) == {"report.csv": b"2", nameless.id: b"3"}


async def test_a_file_where_another_needs_a_directory_is_said(
    listed: ListingStandIn, listed_uploader: Uploader, tmp_path: Path
) -> None:
    add(listed, "a/b")
    add(listed, "a")
    result = await tree(listed_uploader, tmp_path, jobs=1)
    assert [each.path for each in result.failures] == [b"a/b"]
    assert files(tmp_path) == {"a": b"bytes"}


def test_where_case_is_ignored_one_spelling_alone_is_restored() -> None:
    with Claims.open(folds=True) as claims:
        assert claims.claim(b"Photos/A.jpg", None, is_versioned=True) is Claim.OURS
        assert claims.claim(b"photos/a.JPG", None, is_versioned=True) is Claim.TAKEN
        assert claims.claim(b"Photos/A.jpg", None, is_versioned=True) is Claim.OLDER
        assert claims.claim("straße".encode(), None, is_versioned=True) is Claim.OURS
        assert claims.claim(b"STRASSE", None, is_versioned=True) is Claim.TAKEN
        assert claims.claim("cafe\u0301".encode(), None, is_versioned=True) is Claim.OURS
        assert claims.claim("caf\u00e9".encode(), None, is_versioned=True) is Claim.TAKEN
        assert claims.claim(b"caf\xe9", None, is_versioned=True) is Claim.OURS
    with Claims.open(folds=False) as claims:
        assert claims.claim(b"a", None, is_versioned=True) is Claim.OURS
        assert claims.claim(b"A", None, is_versioned=True) is Claim.OURS
        assert claims.claim(b"a", None, is_versioned=False) is Claim.TAKEN


@given(st.binary(max_size=60))
def test_a_spelling_is_its_own(path: bytes) -> None:
    assert folded(folded(path)) == folded(path)


def test_whether_case_is_ignored_is_tried_and_leaves_nothing(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path)
    is_ignored = folder.folds()
    folder.close()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").touch()
    assert is_ignored is (tmp_path / "A").exists()


async def test_a_run_that_was_interrupted_goes_on_with_its_parts(
    listed: ListingStandIn, listed_uploader: Uploader, tmp_path: Path
) -> None:
    add(listed, "a/done")
    session = add(listed, "a/half", LARGE)
    await tree(listed_uploader, tmp_path)
    (tmp_path / "a/half").unlink()
    (tmp_path / f"a/half.{session}.part").write_bytes(LARGE[:1000])
    listed.ranges.clear()
    result = await tree(listed_uploader, tmp_path)
    assert (result.saved_files, result.skipped_files) == (1, 1)
    assert listed.ranges == ["bytes=1000-"]
    assert files(tmp_path) == {"a/done": b"bytes", "a/half": LARGE}


async def test_a_run_that_is_cancelled_leaves_whole_files_and_parts_alone(
    listed: ListingStandIn, listed_uploader: Uploader, tmp_path: Path
) -> None:
    for number in range(40):
        add(listed, f"a/{number}", LARGE)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(tree(listed_uploader, tmp_path, jobs=4))
        await listed.seen("content")
        running.cancel()
    assert running.cancelled()
    left = files(tmp_path)
    assert all(content == LARGE or path.endswith(".part") for path, content in left.items())
    result = await tree(listed_uploader, tmp_path)
    assert (result.exit_code, set(files(tmp_path).values())) == (0, {LARGE})
    assert len(files(tmp_path)) == 40


async def test_failures_of_single_files_do_not_end_the_run(
    listed: ListingStandIn, listed_uploader: Uploader, tmp_path: Path, recorder: Recorder
) -> None:
    gone = [add(listed, f"a/gone{number}") for number in range(30)]
    for session in gone:
        listed.objects.pop(listed.sessions[session].key)
    add(listed, "a/there")
    result = await tree(listed_uploader, tmp_path, observer=recorder)
    assert (result.saved_files, result.failed_files, len(result.failures), result.exit_code) == (1, 30, 20, 1)
    assert {each.error.code for each in result.failures} == {"store-refused"}
    assert len(recorder.of(FileNotSaved)) == 30
    assert files(tmp_path) == {"a/there": b"bytes"}  # no empty parts


async def test_a_store_that_is_away_stops_the_run(
    listed: ListingStandIn, listed_uploader: Uploader, tmp_path: Path
) -> None:
    for number in range(50):
        add(listed, f"a/{number}")
    listed.store_faults.extend(["busy"] * 500)
    result = await tree(listed_uploader, tmp_path, jobs=4)
    assert isinstance(result.stopped, Unreachable)
    assert (result.exit_code, result.saved_files, result.failed_files) == (4, 0, 0)
    assert len(listed.ranges) <= 4 * 4
    listed.store_faults.clear()
    assert (await tree(listed_uploader, tmp_path)).saved_files == 50


async def test_a_broker_that_does_not_let_us_in_stops_the_run(listed: ListingStandIn, tmp_path: Path) -> None:
    add(listed, "a")
    async with Uploader(listed.broker_url, "wrong") as stranger:
        result = await tree(stranger, tmp_path)
    assert isinstance(result.stopped, BrokerRefused)
    assert result.exit_code == 3


async def test_a_batch_that_nobody_knows_is_no_success(listed_uploader: Uploader, tmp_path: Path) -> None:
    result = await tree(listed_uploader, tmp_path)
    assert (result.is_empty, result.exit_code) == (True, 1)


async def test_what_was_erased_is_counted(listed: ListingStandIn, listed_uploader: Uploader, tmp_path: Path) -> None:
    listed.erased.add(add(listed, "a"))
    result = await tree(listed_uploader, tmp_path)
    assert (result.absent, result.saved_files, result.exit_code) == ({"erased": 1}, 0, 0)


async def test_a_directory_that_is_a_file_is_said(listed_uploader: Uploader, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileUnusable, match="file"):
        await tree(listed_uploader, tmp_path / "file")


async def test_so_many_at_a_time_and_no_more(listed: ListingStandIn, listed_uploader: Uploader, tmp_path: Path) -> None:
    for number in range(30):
        add(listed, f"a/{number}")
    listed.slow_seconds = 0.02
    assert (await tree(listed_uploader, tmp_path, jobs=5)).saved_files == 30
    assert listed.most_contents == 5


@pytest.mark.parametrize(
    "how", [{}, {"batch": "b", "manifest": "m"}, {"batch": "b", "jobs": 0}, {"batch": "b", "jobs": 65}]
)
async def test_wrong_words_are_refused_at_once(
    listed_uploader: Uploader, tmp_path: Path, how: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=r"batch or manifest|jobs"):
        await listed_uploader.get_tree(tmp_path, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mtime_ns", "seen_ns", "is_same"),
    [
        (1_700_000_001_123_456_789, 1_700_000_001_123_456_789, True),
        (1_700_000_001_123_456_789, 1_700_000_001_123_456_700, True),  # NTFS
        (1_700_000_001_123_456_789, 1_700_000_001_000_000_000, True),  # HFS+
        (1_700_000_001_123_456_789, 1_700_000_000_000_000_000, True),  # FAT
        (1_700_000_001_123_456_789, 1_700_000_001_123_456_790, False),
        (1_700_000_001_123_456_789, 1_700_000_002_000_000_000, False),
        (-1_500_000_000, -1_500_000_000, True),
        (None, 0, False),
    ],
)
def test_a_time_is_compared_as_precisely_as_the_file_system_keeps_it(
    tmp_path: Path, mtime_ns: int | None, seen_ns: int, *, is_same: bool
) -> None:
    path = tmp_path / "file"
    path.touch()
    os.utime(path, ns=(0, seen_ns))
    assert is_of(Attributes(mtime_ns=mtime_ns), path.stat()) is is_same


def test_where_no_links_can_be_made_a_name_is_given_by_renaming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")  # as FAT has it

    monkeypatch.setattr(os, "link", refuse)
    folder = Folder.open(tmp_path)
    landing = folder.landing((b"file",))
    for content, is_first in ((b"first", True), (b"second", False)):
        part = landing.open_part("0" * 28)
        part.out.write(content)
        if is_first:
            part.publish(replaces=False)
        else:
            with pytest.raises(FileUnusable, match="exists already"):
                part.publish(replaces=False)
            part.discard()
        part.close()
    landing.close()
    folder.close()
    assert files(tmp_path) == {"file": b"first"}


def test_a_full_disk_ends_the_run_and_a_directory_that_is_closed_to_us_does_not() -> None:
    def failed(number: int) -> FileUnusable:
        error = FileUnusable("no")
        error.__cause__ = OSError(number, "no")
        return error

    assert all(_ends_all(failed(number), got_on=True) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS))
    assert not _ends_all(failed(errno.EACCES), got_on=False)
    assert not _ends_all(Unreachable("away"), got_on=True)
    assert _ends_all(Unreachable("away"), got_on=False)
