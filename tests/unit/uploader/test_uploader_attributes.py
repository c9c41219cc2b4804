"""What is declared of a file is accepted by the broker and comes back as it was; a stranger is not trusted."""

import base64
import os
import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.contract import MAX_METADATA_BYTES, MAX_OBJECT_METADATA_BYTES, CreateUploadSession
from broker.domain.objects import check_object_metadata
from uploader.attributes import Attributes, check_own, declared, located, location, presentable, restored

PREFIXES = ("x-amz-meta-", "X-Goog-Meta-")
NAMES = st.binary(min_size=1, max_size=255).filter(lambda name: b"/" not in name and b"\0" not in name)
TEXT_NAMES = st.text(min_size=1, max_size=60).map(lambda text: text.encode("utf-8", "replace"))
MOMENTS = st.integers(min_value=-(1 << 63), max_value=(1 << 63) - 1)
ODD = [
    b"a b",
    b"caf\xe9",
    b"new\nline",
    b"\x1b[31m",
    "\u202egpj.exe".encode(),
    b"\xff" * 255,
    b"x" * 255,
    b"\\",
    b"-rf",
]


def _accepted(filename: str = "a", metadata: dict[str, str] | None = None) -> None:
    """By the broker's door: unknown, odd and unprintable text is refused there."""
    wanted = CreateUploadSession(filename=filename, size_bytes=0, metadata=metadata or {})
    assert msgspec.json.decode(msgspec.json.encode(wanted), type=CreateUploadSession) == wanted


@given(MOMENTS, st.integers(min_value=0, max_value=0o177777), st.sampled_from(PREFIXES))
def test_a_time_and_permissions_come_back_as_they_were(mtime_ns: int, mode: int, prefix: str) -> None:
    metadata = declared(mtime_ns, mode)
    check_object_metadata(metadata)
    assert len("".join([*metadata, *metadata.values()])) < MAX_OBJECT_METADATA_BYTES // 10
    headers = {f"{prefix}{name}": value for name, value in metadata.items()}
    assert restored(headers) == Attributes(mtime_ns=mtime_ns, mode=mode & 0o777)


@pytest.mark.parametrize(
    ("mtime_ns", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (-1_500_000_000, "-1.5"),
        (1_732_100_000_000_000_000, "1732100000"),
        (253_402_300_800_123_000_000, "253402300800.123"),
    ],
)
def test_a_time_is_written_as_others_write_it(mtime_ns: int, text: str) -> None:
    assert declared(mtime_ns, 0o644) == {"mtime": text, "mode": "0644"}


@given(st.sampled_from(["mtime", "mode"]), st.text(max_size=40))
def test_whatever_an_object_says_is_permission_bits_and_a_number_or_nothing(name: str, text: str) -> None:
    found = restored({f"x-amz-meta-{name}": text})
    assert found.mode is None or 0 <= found.mode <= 0o777


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("0644", 0o644),
        ("4755", 0o755),
        ("7777", 0o777),
        ("100644", 0o644),
        ("0100644", 0o644),
        ("33188", None),  # s3fs: decimal
        ("33204", None),
        ("0o644", None),
        ("-644", None),
        ("٠٦٤٤", None),
        ("", None),
    ],
)
def test_permissions_are_octal_digits_and_never_more_than_nine_bits(text: str, mode: int | None) -> None:
    assert restored({"x-goog-meta-mode": text}).mode == mode


@pytest.mark.parametrize("text", ["", "now", "1e9", "nan", "inf", "--1", "+1", "1.", ".5", "1 2", "9" * 40, "١"])
def test_a_time_that_is_no_number_is_none(text: str) -> None:
    assert restored({"x-amz-meta-mtime": text}).mtime_ns is None


def test_more_decimals_than_nanoseconds_are_cut() -> None:
    assert restored({"x-amz-meta-mtime": "1.1234567899999"}).mtime_ns == 1_123_456_789


@given(st.lists(NAMES | TEXT_NAMES | st.sampled_from(ODD), max_size=8))
def test_a_path_comes_back_byte_for_byte(names: list[bytes]) -> None:
    path = b"/".join(names)
    metadata = located(b"/home/me/photos", path)
    _accepted(metadata=metadata)
    assert location(metadata) == (b"photos/" + path if path else b"photos")


@pytest.mark.parametrize(
    ("root", "path", "whole"),
    [
        (b"/home/me/photos", b"a/b.jpg", "photos/a/b.jpg"),
        (b"/home/me/photos/", b"a", "photos/a"),
        (b"/home/me/one.jpg", b"", "one.jpg"),
        (b"/", b"etc/hosts", "etc/hosts"),
        (b"photos", b"a", "photos/a"),
    ],
)
def test_a_path_begins_with_the_name_of_its_root(root: bytes, path: bytes, whole: str) -> None:
    assert located(root, path) == {"path": whole}


@pytest.mark.parametrize("name", [b"\xff", b"\n", b"\x9f", "\u0085".encode(), "\u202e".encode(), b"\xed\xa0\x80"])
def test_what_is_no_plain_text_travels_as_base64(name: bytes) -> None:
    assert located(b"/r", name) == {"path_base64": base64.b64encode(b"r/" + name).decode()}


def test_the_longest_plain_path_fits_into_what_the_broker_keeps() -> None:
    (name, text), *_ = located(b"/r", b"x" * 4090).items()
    assert len(name) + len(text) == MAX_METADATA_BYTES


@pytest.mark.parametrize(
    "metadata",
    [{}, {"path": ""}, {"path_base64": "not base64!"}, {"path_base64": "YQ"}, {"path_base64": "ä"}, {"path": "\ud800"}],
)
def test_what_says_nothing_legible_is_no_location(metadata: dict[str, str]) -> None:
    assert location(metadata) is None


@given(NAMES | TEXT_NAMES)
def test_a_name_is_presentable_whatever_it_was(name: bytes) -> None:
    shown = presentable(name)
    _accepted(filename=shown, metadata={"name": shown})  # metadata is the stricter of the two
    assert 1 <= len(shown) <= 1024


@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"a b.txt", "a b.txt"), ("größe".encode(), "größe"), (b"caf\xe9", "caf_"), (b"a\r\nb", "a__b"), (b"", "_")],
)
def test_a_plain_name_stays_as_it_is(name: bytes, shown: str) -> None:
    assert presentable(name) == shown


def test_metadata_of_names_that_are_ours_is_refused() -> None:
    check_own({"mtime": "1", "case": "17"}, {"path": "x"})
    with pytest.raises(ValueError, match="metadata path, path_base64: the uploader declares"):
        check_own({"path": "x", "path_base64": "eA=="}, {})
    with pytest.raises(ValueError, match="object metadata mode"):
        check_own({}, {"mode": "0777"})


@pytest.mark.parametrize("mtime_ns", [0, -1_500_000_000, 1_732_100_000_123_456_789, 4_000_000_000_000_000_000])
def test_a_file_is_given_what_its_object_says(tmp_path: Path, mtime_ns: int) -> None:
    with (tmp_path / "file").open("wb") as out:
        Attributes(mtime_ns=mtime_ns, mode=0o640).apply(out.fileno())
        seen = os.fstat(out.fileno())
    assert stat.S_IMODE(seen.st_mode) == 0o640
    assert seen.st_mtime_ns == mtime_ns


def test_a_time_that_no_file_system_knows_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as out:
        Attributes(mtime_ns=10**29, mode=None).apply(out.fileno())
        Attributes().apply(out.fileno())
    assert (tmp_path / "file").exists()
