"""Messages of Cloud Storage by Pub/Sub: what is told of an object is read, what is about something else is not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.doors.pubsub import open_message, pushed_in
from broker.ports import Hint, Opened
from tests.unit.doors.google_world import BUCKET, GENERATION, KEY, SUBSCRIPTION, pushed, told


def read(message: object) -> Opened:
    return open_message(json.dumps(message))


def counts(opened: Opened) -> tuple[int, int, int]:
    return len(opened.hints), opened.ignored, opened.malformed


def test_an_object_that_came_is_a_hint_with_its_generation() -> None:
    assert read(told()) == Opened(hints=(Hint(bucket=BUCKET, key=KEY, version=GENERATION),))


@pytest.mark.parametrize("event", ["OBJECT_DELETE", "OBJECT_ARCHIVE"])
def test_an_object_that_went_is_a_hint_that_says_so(event: str) -> None:
    message = told(event=event, overwrittenByGeneration="1732176000999999")
    assert read(message).hints == (Hint(bucket=BUCKET, key=KEY, is_removed=True, version=GENERATION),)


@given(key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_any_name_comes_as_it_is(key: str) -> None:
    for message in (told(key), told(key, payloadFormat="NONE") | {"data": ""}):
        assert [hint.key for hint in read(message).hints] == [key]
        wrapped = pushed_in(json.dumps(pushed(message)).encode())
        assert wrapped is not None
        assert [hint.key for hint in open_message(wrapped.message).hints] == [key]
        assert wrapped.subscription == SUBSCRIPTION


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"messageId": "1"},
        {"data": "aGVsbG8="},
        {"attributes": None},
        {"attributes": {}},
        {"attributes": {"bucketId": "acme", "objectId": "k"}},
        {"attributes": {"eventType": ""}},
        told(event="OBJECT_METADATA_UPDATE"),
        told(event="object_finalize"),
        told(event="TransferOperationSucceeded"),
        {"attributes": {"eventType": "OBJECT_METADATA_UPDATE"}},
    ],
    ids=lambda message: json.dumps(message)[:60],
)
def test_what_is_about_something_else_is_ignored(message: object) -> None:
    assert counts(read(message)) == (0, 1, 0)


@pytest.mark.parametrize(
    "message",
    [
        None,
        7,
        [],
        "text",
        {"attributes": 7},
        {"attributes": []},
        {"attributes": {"eventType": 7}},
        {"attributes": {"eventType": "OBJECT_FINALIZE"}},
        told(bucket=""),
        told(key=""),
        {"attributes": told()["attributes"] | {"objectId": None}},
        {"attributes": told()["attributes"] | {"objectGeneration": 7}},
    ],
    ids=lambda message: json.dumps(message)[:60],
)
def test_what_cannot_be_read_is_counted(message: object) -> None:
    assert counts(read(message)) == (0, 0, 1)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"null", b"[]", b"{}", b'{"subscription": 7, "message": {}}'])
def test_what_pubsub_would_not_post_is_none(body: bytes) -> None:
    assert pushed_in(body) is None


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"message": ' * 100_000, b'{"attributes": ' + b"[" * 100_000])
def test_no_depth_breaks_it(body: bytes) -> None:
    assert pushed_in(body) is None
    assert counts(open_message(body)) == (0, 0, 1)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["eventType", "bucketId", "objectId", "objectGeneration", "payloadFormat", "x"])
WORDS = st.sampled_from(["OBJECT_FINALIZE", "OBJECT_DELETE", "acme", "", "uploads/id/k"])


@given(attributes=st.dictionaries(NAMES, WORDS | st.text() | json_values), beside=json_values)
def test_no_message_breaks_it_and_each_counts_once(attributes: object, beside: object) -> None:
    for message in ({"attributes": attributes, "data": beside}, {"attributes": beside}, beside, pushed(attributes)):
        opened = open_message(json.dumps(message).encode(errors="surrogatepass"))
        assert sum(counts(opened)) == 1
        assert all(hint.bucket and hint.key for hint in opened.hints)


@given(at=st.integers(0, 900), junk=st.binary(max_size=8))
def test_no_damage_breaks_it(at: int, junk: bytes) -> None:
    body = json.dumps(pushed(told())).encode()
    for damaged in (body[:at] + junk + body[at + len(junk) :], body[:at], junk):
        wrapped = pushed_in(damaged)
        for message in (damaged, b"" if wrapped is None else wrapped.message):
            assert sum(counts(open_message(message))) == 1


@given(beside=st.dictionaries(st.text(min_size=1), json_values))
def test_an_odd_field_beside_what_matters_costs_nothing(beside: dict[str, object]) -> None:
    message = {**beside, **told()}
    wrapped = pushed_in(json.dumps({**beside, **pushed(message)}).encode(errors="surrogatepass"))
    assert wrapped is None or [hint.key for hint in open_message(wrapped.message).hints] == [KEY]
