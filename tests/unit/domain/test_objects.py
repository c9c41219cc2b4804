"""What may be declared, and whether what was found is that."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.contract import CHECKSUM_ALGORITHMS, Checksum, Level
from broker.domain.errors import ChecksumInvalid, MetadataInvalid
from broker.domain.objects import (
    CAPSULE_FIELD,
    ObjectInfo,
    UploadSpec,
    check_checksum,
    check_object_metadata,
    judge,
    stored_object,
    unproved,
)
from tests.unit.domain.samples import ALL_DIGESTS, GUARANTEES, checksums, digest

SPEC = UploadSpec(filename="a.csv", size_bytes=3, content_type="text/csv", checksum=ALL_DIGESTS)
INFO = ObjectInfo(size_bytes=3, content_type="text/csv", etag="e", checksum=ALL_DIGESTS)


def test_what_was_declared_is_accepted() -> None:
    assert judge(SPEC, INFO) is None


@pytest.mark.parametrize("size", [0, 2, 4, 2**40])
def test_another_size_is_a_mismatch(size: int) -> None:
    reason = judge(SPEC, replace(INFO, size_bytes=size))
    assert reason is not None
    assert reason.code == "size-mismatch"


@pytest.mark.parametrize("content_type", ["", "text/html", "text/csv; charset=utf-8", "Text/CSV", "text/csv "])
def test_another_type_is_a_mismatch_and_is_not_repeated(content_type: str) -> None:
    reason = judge(SPEC, replace(INFO, content_type=content_type))
    assert reason is not None
    assert reason.code == "content-type-mismatch"
    assert "text/html" not in reason.message


@pytest.mark.parametrize("name", CHECKSUM_ALGORITHMS)
def test_each_digest_that_the_store_shows_is_compared(name: str) -> None:
    found = replace(ALL_DIGESTS, **{name: digest(name, 8)})
    reason = judge(SPEC, replace(INFO, checksum=found))
    assert reason is not None
    assert reason.code == "checksum-mismatch"
    assert name in reason.message


@given(checksums, checksums)
def test_digests_that_only_one_side_knows_are_no_mismatch(declared: Checksum, found: Checksum) -> None:
    reason = judge(replace(SPEC, checksum=declared), replace(INFO, checksum=found))
    pairs = [(getattr(declared, name), getattr(found, name)) for name in CHECKSUM_ALGORITHMS]
    differ = any(a is not None and b is not None and a != b for a, b in pairs)
    assert (reason is not None) == differ


def test_what_neither_the_store_enforced_nor_head_showed_is_left_to_the_reader() -> None:
    shown = replace(INFO, checksum=Checksum(crc32c=ALL_DIGESTS.crc32c))
    on_read = replace(GUARANTEES, checksum=Level.ON_READ)
    assert unproved(SPEC, stored_object(shown), on_read) == ["sha256", "crc64nvme", "md5"]
    assert unproved(SPEC, stored_object(INFO), on_read) == []
    assert unproved(SPEC, stored_object(shown), GUARANTEES) == []
    assert unproved(replace(SPEC, checksum=Checksum()), shown, on_read) == []


@given(checksums)
def test_every_digest_of_the_right_length_is_taken(checksum: Checksum) -> None:
    check_checksum(checksum)


@pytest.mark.parametrize("name", CHECKSUM_ALGORITHMS)
def test_anything_but_the_one_spelling_of_a_digest_is_refused_by_name(name: str) -> None:
    good = digest(name)
    raw = base64.b64decode(good)
    spare_bits = good.rstrip("=")[:-1] + chr(ord(good.rstrip("=")[-1]) + 1) + "=" * good.count("=")
    assert base64.b64decode(spare_bits) == raw
    hexadecimal, short, long = raw.hex(), base64.b64encode(raw[:-1]).decode(), base64.b64encode(raw + b"x").decode()
    url_safe = base64.urlsafe_b64encode(b"\xff" * len(raw)).decode()
    bad = [
        "",
        "=",
        hexadecimal,
        short,
        long,
        good + "\n",
        f" {good}",
        good.rstrip("="),
        "é",
        "\ud800",
        spare_bits,
        url_safe,
    ]
    for value in bad:
        with pytest.raises(ChecksumInvalid) as refused:
            check_checksum(Checksum(**{name: value}))
        assert refused.value.errors[0].pointer == f"/checksum/{name}"


@given(st.text(max_size=100))
def test_no_text_breaks_the_check_of_a_digest(text: str) -> None:
    try:
        check_checksum(Checksum(sha256=text))
    except ChecksumInvalid:
        return
    assert len(base64.b64decode(text)) == 32


@pytest.mark.parametrize("metadata", [{}, {"mtime": "1732100000"}, {"a|~b": ""}, {"x": "two  words"}, {"x" * 128: "!"}])
def test_token_names_and_printable_values_are_taken(metadata: dict[str, str]) -> None:
    check_object_metadata(metadata)


@pytest.mark.parametrize(
    "name", ["", "Upper", "a b", "a:b", "a\n", "a\r\nb", "é", CAPSULE_FIELD, "x" * 129, "a/b", "\ud800"]
)
def test_a_name_that_no_header_can_carry_is_refused(name: str) -> None:
    with pytest.raises(MetadataInvalid):
        check_object_metadata({name: "v"})


@pytest.mark.parametrize(
    "value", [" a", "a ", "\t", "a\nb", "a\r\nx-amz-acl: public-read", "é", "\0", "\x7f", "a\n", "\ud800"]
)
def test_a_value_that_would_not_come_back_or_would_break_a_header_is_refused(value: str) -> None:
    with pytest.raises(MetadataInvalid) as refused:
        check_object_metadata({"a~b": value})
    assert refused.value.errors[0].pointer == "/object_metadata/a~0b"
