"""A download is pinned, resumed and proved; it never lands where its name would like it to."""

import fcntl
import os
import stat
import time
from pathlib import Path

import pytest
from uploader_standin import MakeFile, StandIn

from broker.contract import Checksum
from uploader import BrokerRefused, ContentMismatch, FileUnusable, StoreRefused, Unreachable, Uploader, UploadResult
from uploader.attributes import Attributes
from uploader.landing import safe_name

SIZE = (2 << 20) + 17


@pytest.fixture
async def uploaded(uploader: Uploader, make_file: MakeFile) -> UploadResult:
    return await uploader.put(make_file(SIZE), checksum="sha256")


@pytest.mark.parametrize("size", [0, 10, SIZE])
async def test_what_was_uploaded_comes_back(uploader: Uploader, make_file: MakeFile, tmp_path: Path, size: int) -> None:
    path = make_file(size)
    sent = await uploader.put(path, checksum="sha256")
    result = await uploader.get(sent.session_id, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    assert (result.size_bytes, result.proved, result.attempts) == (size, "sha256", 1)
    assert _names(tmp_path) == ["back", "data.bin"]


@pytest.mark.parametrize(("names", "proved"), [("md5", "md5"), ("kms", None), ("nothing", None)])
async def test_without_a_declared_digest_an_etag_proves_what_it_can(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, tmp_path: Path, names: str, proved: str | None
) -> None:
    standin.names = names
    path = make_file(SIZE)
    sent = await uploader.put(path)
    result = await uploader.get(sent.session_id, tmp_path / "back")
    assert ((tmp_path / "back").read_bytes() == path.read_bytes(), result.proved) == (True, proved)
    assert sent.checksum == Checksum()


async def test_a_cut_answer_is_continued_by_range(
    uploader: Uploader, standin: StandIn, uploaded: UploadResult, tmp_path: Path
) -> None:
    standin.store_faults.extend(["cut", "cut", "expired"])
    await uploader.get(uploaded.session_id, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "data.bin").read_bytes()
    begins = [int(value.removeprefix("bytes=").removesuffix("-")) for value in standin.ranges if value]
    assert begins == sorted(begins)
    assert len(begins) == 3
    assert begins[0] > 0


async def test_a_part_of_an_earlier_run_is_continued_and_proved(
    uploader: Uploader, standin: StandIn, uploaded: UploadResult, tmp_path: Path
) -> None:
    part = tmp_path / f"back.{uploaded.session_id}.part"
    part.write_bytes((tmp_path / "data.bin").read_bytes()[:1000])
    await uploader.get(uploaded.session_id, tmp_path / "back")
    assert standin.ranges == ["bytes=1000-"]
    assert (tmp_path / "back").read_bytes() == (tmp_path / "data.bin").read_bytes()
    assert not part.exists()


async def test_a_damaged_part_is_thrown_away(uploader: Uploader, uploaded: UploadResult, tmp_path: Path) -> None:
    part = tmp_path / f"back.{uploaded.session_id}.part"
    part.write_bytes(b"other bytes")
    with pytest.raises(ContentMismatch, match="the sha256 is not the declared one"):
        await uploader.get(uploaded.session_id, tmp_path / "back")
    assert not part.exists()
    assert not (tmp_path / "back").exists()


async def test_bytes_that_are_not_what_was_declared_get_no_name(
    uploader: Uploader, standin: StandIn, uploaded: UploadResult, tmp_path: Path
) -> None:
    standin.store_faults.append("damaged")
    with pytest.raises(ContentMismatch):
        await uploader.get(uploaded.session_id, tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    ("fault", "error"),
    [("gone", StoreRefused), ("expired", StoreRefused), ("replaced", ContentMismatch), ("busy", Unreachable)],
)
async def test_a_store_that_says_no_is_believed_in_the_end(
    uploader: Uploader,
    standin: StandIn,
    uploaded: UploadResult,
    tmp_path: Path,
    fault: str,
    error: type[Exception],
) -> None:
    standin.store_faults.extend([fault] * 9)
    with pytest.raises(error):
        await uploader.get(uploaded.session_id, tmp_path / "back")
    assert not (tmp_path / "back").exists()


async def test_a_file_that_is_there_stands_unless_told_otherwise(
    uploader: Uploader, uploaded: UploadResult, tmp_path: Path
) -> None:
    target = tmp_path / "back"
    target.write_text("mine")
    with pytest.raises(FileUnusable, match="exists already"):
        await uploader.get(uploaded.session_id, target)
    assert target.read_text() == "mine"
    await uploader.get(uploaded.session_id, target, replace=True)
    assert target.stat().st_size == SIZE


async def test_an_unknown_session_is_refused(uploader: Uploader, tmp_path: Path) -> None:
    with pytest.raises(BrokerRefused, match="session-not-found"):
        await uploader.get("nothere", tmp_path / "back")


async def test_time_and_permissions_come_back_and_never_more_than_permissions(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, tmp_path: Path
) -> None:
    path = make_file(SIZE)
    path.chmod(0o751)
    os.utime(path, ns=(0, 1_000_000_000_123_456_789))
    sent = await uploader.put(path)
    standin.sessions[sent.session_id].wanted.object_metadata["mode"] = "6751"
    await uploader.get(sent.session_id, tmp_path / "back")
    seen = (tmp_path / "back").stat()
    assert (seen.st_mtime_ns, stat.S_IMODE(seen.st_mode)) == (1_000_000_000_123_456_789, 0o751)
    before = time.time_ns()
    await uploader.get(sent.session_id, tmp_path / "plain", attributes=False)
    seen = (tmp_path / "plain").stat()
    (tmp_path / "other").touch()
    assert abs(seen.st_mtime_ns - before) < 60_000_000_000
    assert seen.st_mode == (tmp_path / "other").stat().st_mode


async def test_an_object_that_says_nothing_of_its_file_is_saved_all_the_same(
    uploader: Uploader, tmp_path: Path
) -> None:
    sent = await uploader.put(b"bytes", filename="memory", object_metadata={"mtime": "long ago", "mode": "-rw-r--r--"})
    result = await uploader.get(sent.session_id, tmp_path / "back")
    assert ((tmp_path / "back").read_bytes(), result.attributes) == (b"bytes", Attributes())


async def test_a_download_that_died_before_its_name_asks_for_one_byte(
    uploader: Uploader, standin: StandIn, uploaded: UploadResult, tmp_path: Path
) -> None:
    os.utime(tmp_path / "data.bin", ns=(0, 0))
    standin.sessions[uploaded.session_id].wanted.object_metadata["mtime"] = "1"
    part = tmp_path / f"back.{uploaded.session_id}.part"
    part.write_bytes((tmp_path / "data.bin").read_bytes())
    await uploader.get(uploaded.session_id, tmp_path / "back")
    assert standin.ranges == [f"bytes={SIZE - 1}-"]
    assert (tmp_path / "back").stat().st_mtime_ns == 1_000_000_000
    assert (tmp_path / "back").read_bytes() == (tmp_path / "data.bin").read_bytes()
    assert not part.exists()


async def test_a_whole_part_of_an_object_that_was_replaced_gets_no_name(
    uploader: Uploader, standin: StandIn, uploaded: UploadResult, tmp_path: Path
) -> None:
    (tmp_path / f"back.{uploaded.session_id}.part").write_bytes((tmp_path / "data.bin").read_bytes())
    standin.store_faults.append("replaced")
    with pytest.raises(ContentMismatch, match="no longer the one"):
        await uploader.get(uploaded.session_id, tmp_path / "back")
    assert _names(tmp_path) == ["data.bin"]


async def test_a_part_that_is_longer_than_the_object_is_begun_anew(
    uploader: Uploader, standin: StandIn, uploaded: UploadResult, tmp_path: Path
) -> None:
    (tmp_path / f"back.{uploaded.session_id}.part").write_bytes(b"x" * (SIZE + 1))
    await uploader.get(uploaded.session_id, tmp_path / "back")
    assert standin.ranges == [None]
    assert (tmp_path / "back").read_bytes() == (tmp_path / "data.bin").read_bytes()


async def test_a_process_that_died_between_name_and_tidying_up_harms_nothing(
    uploader: Uploader, uploaded: UploadResult, tmp_path: Path
) -> None:
    await uploader.get(uploaded.session_id, tmp_path / "back")
    (tmp_path / f"back.{uploaded.session_id}.part").hardlink_to(tmp_path / "back")
    (tmp_path / "mine").hardlink_to(tmp_path / "back")
    await uploader.get(uploaded.session_id, tmp_path / "back", replace=True)
    assert _names(tmp_path) == ["back", "data.bin", "mine"]
    assert (tmp_path / "mine").read_bytes() == (tmp_path / "back").read_bytes()
    assert not (tmp_path / "mine").samefile(tmp_path / "back")


async def test_nothing_of_nothing_is_believed_only_when_the_store_says_so(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, tmp_path: Path
) -> None:
    sent = await uploader.put(make_file(0))
    standin.store_faults.extend(["gone"])
    with pytest.raises(StoreRefused):
        await uploader.get(sent.session_id, tmp_path / "back")
    standin.store_faults.extend(["busy"])
    assert (await uploader.get(sent.session_id, tmp_path / "back")).attempts == 2
    assert _names(tmp_path) == ["back", "data.bin"]


async def test_two_processes_do_not_write_one_part(uploader: Uploader, uploaded: UploadResult, tmp_path: Path) -> None:
    with (tmp_path / f"back.{uploaded.session_id}.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(FileUnusable, match="another process is downloading it"):
            await uploader.get(uploaded.session_id, tmp_path / "back")
    assert (await uploader.get(uploaded.session_id, tmp_path / "back")).size_bytes == SIZE


async def test_a_file_that_comes_in_between_stands(
    uploader: Uploader, standin: StandIn, uploaded: UploadResult, tmp_path: Path
) -> None:
    standin.on_busy = lambda: (tmp_path / "back").write_text("mine") and None
    standin.broker_faults["content"].append("busy")
    with pytest.raises(FileUnusable, match="exists already"):
        await uploader.get(uploaded.session_id, tmp_path / "back")
    assert (tmp_path / "back").read_text() == "mine"


async def test_the_part_of_a_private_file_is_private(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, tmp_path: Path
) -> None:
    path = make_file(SIZE)
    path.chmod(0o400)
    sent = await uploader.put(path)
    standin.store_faults.extend(["cut", "gone"])
    with pytest.raises(StoreRefused):
        await uploader.get(sent.session_id, tmp_path / "back")
    part = tmp_path / f"back.{sent.session_id}.part"
    assert stat.S_IMODE(part.stat().st_mode) == 0o600
    await uploader.get(sent.session_id, tmp_path / "back")
    assert stat.S_IMODE((tmp_path / "back").stat().st_mode) == 0o400


@pytest.mark.parametrize("name", ["x" * 255, os.fsdecode(b"\xff" * 255)])
async def test_the_longest_name_has_room_for_its_part(
    uploader: Uploader, uploaded: UploadResult, tmp_path: Path, name: str
) -> None:
    await uploader.get(uploaded.session_id, tmp_path / name)
    assert _names(tmp_path) == sorted(["data.bin", name])


async def test_a_directory_as_the_target_gets_the_declared_name(
    uploader: Uploader, uploaded: UploadResult, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    result = await uploader.get(uploaded.session_id, tmp_path / "folder")
    assert result.path == tmp_path / "folder" / "data.bin"
    with pytest.raises(FileUnusable, match="No such file or directory"):
        await uploader.get(uploaded.session_id, tmp_path / "nowhere" / "data.bin")


async def test_a_symbolic_link_that_is_in_the_way_is_not_written_through(
    uploader: Uploader, uploaded: UploadResult, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "back").symlink_to("precious")
    with pytest.raises(FileUnusable, match="exists already"):
        await uploader.get(uploaded.session_id, tmp_path / "back")
    (tmp_path / f"back.{uploaded.session_id}.part").symlink_to("precious")
    with pytest.raises(FileUnusable, match="symbolic links"):
        await uploader.get(uploaded.session_id, tmp_path / "back", replace=True)
    (tmp_path / f"back.{uploaded.session_id}.part").unlink()
    await uploader.get(uploaded.session_id, tmp_path / "back", replace=True)
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "back").is_symlink()


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        ("report.csv", "report.csv"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/abs/olute", "olute"),
        ("a\x00b\n\u202ec", "abc"),
        ("größe.csv", "größe.csv"),
        ("x" * 500 + ".csv", "x" * 196 + ".csv"),
    ],
)
def test_a_declared_name_never_leads_elsewhere(declared: str, name: str) -> None:
    assert safe_name(declared) == name


@pytest.mark.parametrize("declared", ["..", ".", "a/", "\n", "../.."])
def test_a_name_of_which_nothing_is_left_needs_an_output(declared: str) -> None:
    with pytest.raises(FileUnusable, match="--output"):
        safe_name(declared)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
