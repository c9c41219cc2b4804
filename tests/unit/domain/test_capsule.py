"""A capsule gives back what was sealed, at its own place and with a known key, and nothing else to anybody."""

import base64
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.domain.capsule import MAX_CAPSULE_BYTES, Capsule, CapsuleSealer, capsule_of, spec_of
from broker.domain.keys import new_session_id
from broker.domain.objects import CAPSULE_FIELD, UploadSpec
from broker.domain.sessions import Facts
from tests.clock import START
from tests.unit.domain.samples import ALL_DIGESTS, ID, facts, generated_facts

OLD, NEW = b"o" * 32, b"n" * 32
SEALER = CapsuleSealer([NEW])
KEY = f"uploads/{ID}/report.csv"
SEALED = SEALER.seal(capsule_of(ID, facts()), bucket="acme", key=KEY)

characters = st.characters(exclude_categories=["Cs"])


@given(generated_facts)
def test_a_session_is_rebuilt_from_its_capsule(given_: Facts) -> None:
    sealed = SEALER.seal(capsule_of(ID, given_), bucket=given_.bucket, key=given_.key)
    assert len(sealed) <= MAX_CAPSULE_BYTES
    assert sealed.isascii()
    assert sealed.isprintable()
    assert not sealed.isspace()
    capsule = SEALER.open(sealed, bucket=given_.bucket, key=given_.key)
    assert capsule is not None
    assert (capsule.id, capsule.principal) == (ID, given_.principal)
    assert (capsule.created_at, capsule.expires_at) == (given_.created_at, given_.expires_at)
    assert capsule.metadata in ({}, given_.metadata)
    assert capsule.owner in {None, given_.owner}
    assert (capsule.copy_of, capsule.required) == (given_.copy_of, given_.required)
    assert capsule.destinations in {(), given_.destinations}
    on_object = {**given_.spec.object_metadata, CAPSULE_FIELD: sealed}
    assert spec_of(capsule, filename=given_.spec.filename, object_metadata=on_object) == given_.spec


def test_the_largest_session_still_fits() -> None:
    largest = facts(
        principal="p" * 64,
        spec=UploadSpec(
            filename="f" * 1024, size_bytes=5 * 1024**4, content_type="a/" + "b" * 125, checksum=ALL_DIGESTS
        ),
        created_at=START + timedelta(microseconds=999_999),
        expires_at=START + timedelta(days=3650, microseconds=999_999),
        owner="🎉" * 256,
        batch="🎉" * 256,
        metadata={"k" * 1000: "v" * 3000},
        copy_of=new_session_id(255),
        required=16,
        destinations=("🎉" * 64,) * 16,
    )
    sealed = SEALER.seal(capsule_of(new_session_id(255), largest), bucket="b" * 63, key="k" * 1024)
    assert len(sealed) <= MAX_CAPSULE_BYTES
    assert SEALER.open(sealed, bucket="b" * 63, key="k" * 1024) is not None


def test_metadata_is_left_out_first_then_the_labels() -> None:
    whole = facts(owner="o" * 100, batch="b", metadata={"a": "b"})
    bulky = facts(owner="o" * 100, batch="b", metadata={"a": "b" * 500})
    bulkier = facts(owner="o" * 256, batch="b" * 256, metadata={"a": "b" * 500})

    def opened(given_: Facts) -> Capsule | None:
        return SEALER.open(SEALER.seal(capsule_of(ID, given_), bucket="acme", key=KEY), bucket="acme", key=KEY)

    assert opened(whole) == capsule_of(ID, whole)
    assert opened(bulky) == replace(capsule_of(ID, bulky), metadata={})
    assert opened(bulkier) == replace(capsule_of(ID, bulkier), metadata={}, owner=None, batch=None)


def test_the_same_session_always_seals_to_the_same_header() -> None:
    assert SEALER.seal(capsule_of(ID, facts()), bucket="acme", key=KEY) == SEALED


def test_it_reveals_nothing() -> None:
    text = base64.urlsafe_b64decode(SEALED)
    assert b"app" not in text
    assert b"text/csv" not in text


@pytest.mark.parametrize(
    ("bucket", "key"),
    [("acme2", KEY), ("acme", KEY + "x"), ("acme", ""), ("", f"acme/{KEY}"), ("ACME", KEY), ("acme", KEY.upper())],
)
def test_at_another_place_it_opens_nowhere(bucket: str, key: str) -> None:
    assert SEALER.open(SEALED, bucket=bucket, key=key) is None


@given(st.integers(0, len(base64.urlsafe_b64decode(SEALED)) * 8 - 1))
def test_one_flipped_bit_closes_it(bit: int) -> None:
    data = bytearray(base64.urlsafe_b64decode(SEALED))
    data[bit // 8] ^= 1 << bit % 8
    assert SEALER.open(base64.urlsafe_b64encode(data).decode(), bucket="acme", key=KEY) is None


@given(st.integers(0, len(SEALED)), st.sampled_from(list(" \n!é*\0\ud800")))
def test_junk_between_its_characters_closes_it(at: int, junk: str) -> None:
    assert SEALER.open(SEALED[:at] + junk + SEALED[at:], bucket="acme", key=KEY) is None


@given(st.integers(0, len(SEALED) - 1))
def test_cut_short_it_is_closed(length: int) -> None:
    assert SEALER.open(SEALED[:length], bucket="acme", key=KEY) is None


def test_another_key_does_not_open_it_and_an_old_one_still_does() -> None:
    assert CapsuleSealer([OLD]).open(SEALED, bucket="acme", key=KEY) is None
    rotated = CapsuleSealer([OLD, NEW])
    assert rotated.open(SEALED, bucket="acme", key=KEY) is not None
    again = rotated.seal(capsule_of(ID, facts()), bucket="acme", key=KEY)
    assert SEALER.open(again, bucket="acme", key=KEY) is None
    assert CapsuleSealer([OLD]).open(again, bucket="acme", key=KEY) is not None


@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()), st.text(characters))
def test_garbage_is_no_capsule_and_no_error(sealed: str, key: str) -> None:
    assert SEALER.open(sealed, bucket="acme", key=key) is None


class _Newer(msgspec.Struct, array_like=True):
    id: int


def test_what_a_key_sealed_but_nobody_can_read_is_no_capsule() -> None:
    cipher = SEALER._ciphers[0]
    for plain in (msgspec.msgpack.encode(_Newer(id=7)), b"\xc1", b"x", msgspec.msgpack.encode("text")):
        sealed = base64.urlsafe_b64encode(cipher.encrypt(plain, [f"acme/{KEY}".encode()])).decode()
        assert SEALER.open(sealed, bucket="acme", key=KEY) is None


def test_a_field_that_a_newer_broker_appended_is_ignored() -> None:
    newer = [*msgspec.msgpack.decode(msgspec.msgpack.encode(capsule_of(ID, facts()))), "more"]
    cipher = SEALER._ciphers[0]
    sealed = cipher.encrypt(msgspec.msgpack.encode(newer), [f"acme/{KEY}".encode()])
    opened = SEALER.open(base64.urlsafe_b64encode(sealed).decode(), bucket="acme", key=KEY)
    assert opened == capsule_of(ID, facts())
