"""A download is pinned, resumed and proved; it never lands where its name would like it to."""

from pathlib import Path

import pytest
from uploader_standin import MakeFile, StandIn

from uploader import BrokerRefused, ContentMismatch, FileUnusable, StoreRefused, Unreachable, Uploader, UploadResult
from uploader.download import safe_name

SIZE = (2 << 20) + 17


@pytest.fixture
async def uploaded(uploader: Uploader, make_file: MakeFile) -> UploadResult:
    return await uploader.put(make_file(SIZE))


@pytest.mark.parametrize("size", [0, 10, SIZE])
async def test_what_was_uploaded_comes_back(uploader: Uploader, make_file: MakeFile, tmp_path: Path, size: int) -> None:
    path = make_file(size)
    sent = await uploader.put(path)
    result = await uploader.get(sent.session_id, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    assert (result.size_bytes, result.proved, result.attempts) == (size, "sha256", 1)
    assert _names(tmp_path) == ["back", "data.bin"]


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
