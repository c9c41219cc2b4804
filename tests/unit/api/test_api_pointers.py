"""From what a parser says to the field at fault."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.api.pointers import escaped, field_problem, lone_surrogate, repeated_name
from broker.contract import CreateUploadSession, LeaseRequest, ResultRequest

GOOD: dict[str, Any] = {"filename": "a", "size_bytes": 1}


def _fault(kind: type, body: Any) -> tuple[str, str]:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.json.decode(json.dumps(body), type=kind)
    found = field_problem(str(refused.value))
    assert found.message
    return found.pointer, found.code


@pytest.mark.parametrize(
    ("kind", "body", "pointer", "code"),
    [
        (CreateUploadSession, {"size_bytes": 1}, "/filename", "missing"),
        (CreateUploadSession, [], "", "wrong-type"),
        (CreateUploadSession, {**GOOD, "colour": 1}, "/colour", "unknown-field"),
        (CreateUploadSession, {**GOOD, "a/b~c": 1}, "/a~1b~0c", "unknown-field"),
        (CreateUploadSession, {**GOOD, "`": 1}, "/`", "unknown-field"),
        (CreateUploadSession, {**GOOD, "checksum": {"sha1": ""}}, "/checksum/sha1", "unknown-field"),
        (CreateUploadSession, {**GOOD, "checksum": {"sha256": 1}}, "/checksum/sha256", "wrong-type"),
        (CreateUploadSession, {**GOOD, "metadata": {"a": 1}}, "/metadata", "wrong-type"),
        (CreateUploadSession, {**GOOD, "metadata": {"a\n": "b"}}, "/metadata", "wrong-format"),
        (CreateUploadSession, {**GOOD, "metadata": {"a": "\u202e"}}, "/metadata", "wrong-format"),
        (CreateUploadSession, {**GOOD, "owner": "\x00"}, "/owner", "wrong-format"),
        (CreateUploadSession, {**GOOD, "filename": ""}, "/filename", "wrong-length"),
        (CreateUploadSession, {**GOOD, "size_bytes": -1}, "/size_bytes", "out-of-range"),
        (CreateUploadSession, {**GOOD, "size_bytes": 10**40}, "/size_bytes", "out-of-range"),
        (CreateUploadSession, {**GOOD, "content_type": "csv"}, "/content_type", "wrong-format"),
        (CreateUploadSession, {**GOOD, "strategy": "post"}, "/strategy", "not-permitted"),
        (LeaseRequest, {"wait_seconds": 31}, "/wait_seconds", "out-of-range"),
        (ResultRequest, {"lease": "", "epoch": 1, "outcome": "failed", "reason": {}}, "/reason/code", "missing"),
    ],
)
def test_a_refusal_names_its_field(kind: type, body: Any, pointer: str, code: str) -> None:
    assert _fault(kind, body) == (pointer, code)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_an_unknown_name_is_named_whatever_it_is(name: str) -> None:
    if name not in CreateUploadSession.__struct_fields__ and "` - at `$" not in name:
        assert _fault(CreateUploadSession, {**GOOD, name: 1}) == (f"/{escaped(name)}", "unknown-field")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_a_body_without_repeated_names_has_none(value: Any) -> None:
    for body in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert repeated_name(body.encode(errors="replace")) is None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ('{"a":1,"a":2}', "/a"),
        ('{"a" : 1, "b":{"c":"x","c" : "y"}}', "/b/c"),
        (r'{"a":1,"\u0061":2}', "/a"),
        (r'{"x\"":1,"x\"":2}', '/x"'),
        ('[{"a":1},{"a":1,"b":2,"b":2}]', "/1/b"),
        ('{"a/b":1,"a/b":1}', "/a~1b"),
    ],
)
def test_a_repeated_name_is_found(body: str, pointer: str) -> None:
    found = repeated_name(body.encode())
    assert found is not None
    assert (found.pointer, found.code) == (pointer, "repeated")


@pytest.mark.parametrize(
    "body", ['{"a":{"x":1},"b":{"x":1}}', '{"a":"b\\":","c":"\\":"}', '{"a":"a","b":"a"}', '{"a":"\\"a\\":"}', "[]"]
)
def test_the_same_name_in_two_objects_is_no_fault(body: str) -> None:
    assert repeated_name(body.encode()) is None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (r'{"filename":"\ud800","size_bytes":1}', "/filename"),
        (r'{"metadata":{"a":["\udc00"]}}', "/metadata/a/0"),
        (r'{"metadata":{"\ud800":1}}', "/metadata"),
        (r'"\ud83d\ude00\ud83d"', ""),
    ],
)
def test_a_lone_surrogate_is_found(body: str, pointer: str) -> None:
    found = lone_surrogate(body.encode())
    assert found is not None
    assert (found.pointer, found.code) == (pointer, "not-unicode")


def test_a_whole_pair_is_text() -> None:
    assert lone_surrogate(rb'{"filename":"\ud83d\ude00"}') is None
