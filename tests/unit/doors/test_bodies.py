"""Bodies: one reading for all the ways that a notification comes, in which nothing bad costs anything good."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.doors.bodies import open_body
from broker.ports import Hint, Opened
from tests.unit.doors.senders import aws, bridged, ceph, minio, published, records

TEST_EVENT = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2014-10-13T15:57:02.089Z", "Bucket": "acme"}


def said(body: object) -> Opened:
    return open_body(json.dumps(body).encode())


def counts(opened: Opened) -> tuple[int, int, int]:
    return len(opened.hints), opened.ignored, opened.malformed


def encoded(key: str) -> str:
    return quote_plus(key, safe="/")


NAMES = ["a.csv", "two words.csv", "a+b.csv", "100%.csv", "100%25.csv", "été/日本.txt", "a&b=c.csv", "%2F", "+", "a%zz"]

WAYS: dict[str, Callable[[str], bytes]] = {
    "aws": lambda key: records(aws(encoded(key))),
    "minio": lambda key: records(minio(key), EventName="s3:ObjectCreated:Put", Key=f"acme/{key}"),
    "ceph": lambda key: records(ceph(key)),
    "sns": lambda key: json.dumps(published(records(aws(encoded(key))).decode())).encode(),
    "eventbridge": lambda key: json.dumps(bridged(key)).encode(),
    "eventbridge over sns": lambda key: json.dumps(published(json.dumps(bridged(key)))).encode(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_a_key_arrives_as_it_was_stored_whichever_way_it_is_told(way: str, name: str) -> None:
    key = f"uploads/id/{name}"
    opened = open_body(WAYS[way](key))
    assert [(hint.bucket, hint.key, hint.is_removed) for hint in opened.hints] == [("acme", key, False)]
    assert (opened.ignored, opened.malformed) == (0, 0)


@pytest.mark.parametrize("way", WAYS)
@given(key=st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_key_survives_any_way(way: str, key: str) -> None:
    assert [hint.key for hint in open_body(WAYS[way](key)).hints] == [key]


def test_what_orders_and_names_an_event_is_kept() -> None:
    version, sequencer = "096fKKXTRTtl3on89fVO.nfljtsv6qko", "0055AED6DCD90281E5"
    assert said({"Records": [aws("k")]}).hints == [Hint(bucket="acme", key="k", version=version, sequencer=sequencer)]
    version, sequencer = "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e", "617f08299329d189"
    assert said(bridged("k")).hints == (Hint(bucket="acme", key="k", version=version, sequencer=sequencer),)


@pytest.mark.parametrize("odd", [None, 7, [], {}, False])
def test_an_odd_version_or_sequencer_costs_no_hint(odd: object) -> None:
    record: Any = aws("k")
    record["s3"]["object"] |= {"versionId": odd, "sequencer": odd}
    assert said({"Records": [record]}).hints == [Hint(bucket="acme", key="k")]
    event = bridged("k")
    event["detail"]["object"] |= {"version-id": odd, "sequencer": odd}
    assert said(event).hints == (Hint(bucket="acme", key="k"),)


REMOVALS = [
    "ObjectRemoved:Delete",
    "ObjectRemoved:DeleteMarkerCreated",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
    "LifecycleExpiration:Delete",
    "LifecycleExpiration:DeleteMarkerCreated",
    "s3:LifecycleExpiration:Delete",
    "s3:ObjectLifecycle:Expiration:Current",
]


@pytest.mark.parametrize("name", REMOVALS)
def test_a_removal_is_a_hint_that_says_so(name: str) -> None:
    for record in (aws("k", name=name), ceph("k", name=name)):
        assert [(hint.key, hint.is_removed) for hint in said({"Records": [record]}).hints] == [("k", True)]


def test_a_removal_told_by_eventbridge_says_so_too() -> None:
    assert [(hint.key, hint.is_removed) for hint in said(bridged("k", name="Object Deleted")).hints] == [("k", True)]


@pytest.mark.parametrize(
    "body",
    [
        TEST_EVENT,
        bridged("k", name="Object Restore Initiated"),
        bridged("k", name="Object Tags Added"),
        bridged("k", name="AWS API Call via CloudTrail"),
        bridged("k", source="com.example.app"),  # anybody may put events of his own on a bus
        bridged("k", source=""),
        {"detail-type": "Scheduled Event", "source": "aws.events", "detail": {}},
        {"detail-type": "Object Created", "source": "aws.s3.example", "detail": 7},
        published("hello"),
        published(""),
        published("[1, 2]"),
        published("{}"),
        published('{"AlarmName": "cpu"}'),
        published(json.dumps(TEST_EVENT)),
        published(json.dumps(published(json.dumps({"Records": [aws("k")]})))),  # nobody wraps twice
        published(json.dumps(bridged("k", source="com.example.app"))),
    ],
    ids=lambda body: json.dumps(body)[:60],
)
def test_what_is_about_something_else_is_ignored(body: object) -> None:
    assert counts(said(body)) == (0, 1, 0)


@pytest.mark.parametrize(
    "body",
    [
        {"Type": "Notification"},
        {"Type": "Notification", "Message": None},
        {"Type": "Notification", "Message": {"Records": []}},
        published('{"Records": 7}'),
        published('{"Records": {}}'),
        published('{"detail-type": 7}'),
        {"Type": "SubscriptionConfirmation", "Message": "You have chosen to subscribe"},
        {"detail-type": "Object Created"},
        {"detail-type": 7, "source": "aws.s3", "detail": {}},
        {"detail-type": "Object Created", "source": "aws.s3"},
        {"detail-type": "Object Created", "source": "aws.s3", "detail": {"bucket": {"name": "acme"}}},
        {
            "detail-type": "Object Created",
            "source": "aws.s3",
            "detail": {"bucket": {"name": "acme"}, "object": {"key": 7}},
        },
        {"Event": ""},
        {"Event": 7},
        {"Records": None},
        {"records": []},
    ],
    ids=lambda body: json.dumps(body)[:60],
)
def test_what_cannot_be_read_is_counted(body: object) -> None:
    assert counts(said(body)) == (0, 0, 1)


GOOD, BAD = aws("good"), {"eventName": "ObjectCreated:Put", "s3": {}}


@pytest.mark.parametrize("field", ["Event", "Type", "Message", "detail-type", "detail", "source", "EventName"])
@pytest.mark.parametrize("odd", [None, 7, [], {}, "text", "Notification", "aws.s3"])
def test_an_odd_field_beside_good_records_costs_none_of_them(field: str, odd: object) -> None:
    assert counts(said({field: odd, "Records": [GOOD, BAD, GOOD]})) == (2, 0, 1)


events = st.sampled_from(["good", "bad", "other"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
WRAPS: list[Callable[[str], str]] = [lambda text: text, lambda text: json.dumps(published(text))]


@pytest.mark.parametrize("wrap", WRAPS, ids=["bare", "published"])
@given(kinds=st.lists(events, max_size=12), bad=json_values, beside=st.dictionaries(st.text(min_size=1), json_values))
def test_no_good_record_is_ever_lost_beside_bad_ones(
    wrap: Callable[[str], str], kinds: list[str], bad: object, beside: dict[str, object]
) -> None:
    made = {"bad": bad, "other": aws("k", name="ObjectRestore:Post")}
    listed = [aws(encoded(f"key {place}")) if kind == "good" else made[kind] for place, kind in enumerate(kinds)]
    opened = open_body(wrap(json.dumps(beside | {"Records": listed})))
    assert [hint.key for hint in opened.hints] == [f"key {n}" for n, kind in enumerate(kinds) if kind == "good"]
    assert (opened.ignored, opened.malformed) == (kinds.count("other"), kinds.count("bad"))


fields = st.sampled_from(
    ["Records", "Event", "Type", "Message", "detail-type", "source", "detail", "bucket", "object", "name", "key", "s3"]
)
words = st.sampled_from(["Notification", "aws.s3", "Object Created", "ObjectCreated:Put", "s3:TestEvent"]) | st.text()
shapes = st.recursive(
    st.none() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields, inner, max_size=6),
    max_leaves=20,
)


@given(shapes)
def test_no_structure_breaks_it(shape: object) -> None:
    for body in (shape, published(json.dumps(shape)), {"Records": [shape]}, bridged("k") | {"detail": shape}):
        assert sum(counts(said(body))) >= 0


@given(st.binary(max_size=300), st.integers(0, 1500))
def test_no_bytes_and_no_damage_break_it(junk: bytes, at: int) -> None:
    open_body(junk)
    for way in WAYS.values():
        body = way("uploads/id/a.csv")
        open_body(body[:at] + junk + body[at + len(junk) :])
        open_body(body[:at])
