"""The S3 event door: nothing is read before the sender has proved himself, and nothing that he sends breaks it."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.errors import NotAuthentic
from broker.doors.s3_event import S3EventDoor
from broker.ports import Envelope, Opened
from tests.unit.doors.senders import aws, ceph, minio, open_at_once

TOKEN, NEXT = "t0ken-of-the-sender", "the-next-token"
DOOR = S3EventDoor(destinations=("default",), tokens=(TOKEN,))
BEARER = {"authorization": f"Bearer {TOKEN}"}


def envelope(
    body: bytes = b"{}", *, headers: dict[str, str] | None = None, query: dict[str, str] | None = None
) -> Envelope:
    return Envelope(headers=BEARER if headers is None else headers, query=query or {}, body=body)


def opened_by(envelope: Envelope) -> Opened:
    return open_at_once(DOOR, envelope)


def opened(*records: object, **more: object) -> Opened:
    return opened_by(envelope(json.dumps({"Records": records, **more}).encode()))


NAMES = ["a.csv", "two words.csv", "a+b.csv", "100%.csv", "100%25.csv", "été/日本.txt", "a&b=c.csv", "%2F", "+", "a%zz"]


@pytest.mark.parametrize("name", NAMES)
def test_a_key_arrives_as_it_was_stored_from_every_sender(name: str) -> None:
    key = f"uploads/id/{name}"
    for said in (
        opened(aws(quote_plus(key, safe="/"))),
        opened(minio(key), EventName="s3:ObjectCreated:Put", Key=f"acme/{key}"),
        opened(ceph(key)),
    ):
        assert [(hint.bucket, hint.key, hint.is_removed) for hint in said.hints] == [("acme", key, False)]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_key_survives_the_way_that_its_sender_spells_it(key: str) -> None:
    for said in (opened(aws(quote(key))), opened(minio(key)), opened(ceph(key))):
        assert [(hint.bucket, hint.key) for hint in said.hints] == [("acme", key)]


@pytest.mark.parametrize("kind", ["Put", "Post", "Copy", "CompleteMultipartUpload"])
def test_everything_that_creates_an_object_is_a_hint(kind: str) -> None:
    assert len(opened(aws("k", name=f"ObjectCreated:{kind}"), minio("k", name=f"s3:ObjectCreated:{kind}")).hints) == 2


@pytest.mark.parametrize(
    "name",
    [
        "ObjectRestore:Post",
        "ObjectTagging:Put",
        "LifecycleTransition",
        "ObjectRemoved",
        "ObjectCreated",
        "s3:s3:ObjectCreated:Put",
        "",
    ],
)
def test_other_events_are_ignored(name: str) -> None:
    answer = opened(aws("k", name=name))
    assert (list(answer.hints), answer.ignored, answer.malformed) == ([], 1, 0)


def test_the_test_event_of_a_new_subscription_is_ignored() -> None:
    body = {
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": "2014-10-13T15:57:02.089Z",
        "Bucket": "acme",
        "RequestId": "5582815E1AEA5ADF",
        "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR+YstdA6Knx4Ip8EXAMPLE",
    }
    assert opened_by(envelope(json.dumps(body).encode())) == Opened(hints=(), ignored=1)


BAD_RECORDS = [
    None,
    7,
    "text",
    [],
    {},
    {"eventName": "ObjectCreated:Put"},
    {"eventName": "ObjectCreated:Put", "s3": None},
    {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "acme"}, "object": {}}},
    {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": 7}, "object": {"key": "k"}}},
    {"eventName": 7, "s3": {"bucket": {"name": "acme"}, "object": {"key": "k"}}},
    aws("%ff"),
    aws("%ed%a0%80"),
]


@pytest.mark.parametrize("bad", BAD_RECORDS, ids=lambda bad: json.dumps(bad)[:40])
def test_one_bad_record_spoils_no_other(bad: object) -> None:
    answer = opened(aws("first"), bad, ceph("last"), aws("k", name="ObjectTagging:Put"))
    assert [hint.key for hint in answer.hints] == ["first", "last"]
    assert (answer.malformed, answer.ignored) == (1, 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"Records"',
        b"{",
        b"{}",
        b'{"Records": null}',
        b'{"Records": {}}',
        b'{"Records": "x"}',
        b"\xff\xfe",
        b'{"Records": ["\xff"]}',
        b'{"Event": 7}',
        b"[" * 200_000,
        b'{"Records":' + b"[" * 200_000,
        b'{"Records":[' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"]}",
        b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"Records": [' + b"9" * 100_000 + b"]}",
    ],
    ids=lambda body: body[:16].decode(errors="replace"),
)
def test_a_body_that_says_nothing_is_counted_and_nothing_else(body: bytes) -> None:
    answer = opened_by(envelope(body))
    assert not answer.hints
    assert answer.malformed == 1


def test_a_deep_record_spoils_no_other() -> None:
    depth = 900  # what the outer decoder skips, an inner one may still refuse
    deep = b'{"eventName":' + b"[" * depth + b"]" * depth + b"}"
    answer = opened_by(envelope(b'{"Records":[' + deep + b"," + json.dumps(aws("k")).encode() + b"]}"))
    assert len(answer.hints) + answer.malformed in {1, 2}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["Records", "Event", "eventName", "eventSource", "s3", "bucket", "object", "name", "key"])
            | st.text(),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)


@given(json_values)
def test_no_structure_breaks_the_door(value: object) -> None:
    for shape in (value, {"Records": value}, {"Records": [value]}, {"Records": [{"eventName": value, "s3": value}]}):
        answer = opened_by(envelope(json.dumps(shape).encode(errors="surrogatepass")))
        assert answer.malformed >= 0


@given(st.binary(max_size=300))
def test_no_bytes_break_the_door(body: bytes) -> None:
    opened_by(envelope(body))
    opened_by(envelope(b'{"Records":[' + body + b"]}"))


@given(st.integers(0, 1500), st.binary(min_size=1, max_size=8))
def test_no_damaged_event_breaks_the_door(at: int, junk: bytes) -> None:
    body = json.dumps({"Records": [aws("k")]}).encode()
    opened_by(envelope(body[:at] + junk + body[at + len(junk) :]))
    opened_by(envelope(body[:at]))


def basic(password: str, user: str = "minio") -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        (BEARER, {}),
        ({"authorization": f"bearer   {TOKEN} "}, {}),
        (basic(TOKEN), {}),
        (basic(TOKEN, user=""), {}),
        ({}, {"token": TOKEN}),
        ({"authorization": "Bearer wrong"}, {"token": TOKEN}),
        ({"authorization": "Digest x"}, {"token": TOKEN}),
    ],
)
def test_the_secret_is_taken_as_bearer_as_password_or_in_the_query(
    headers: dict[str, str], query: dict[str, str]
) -> None:
    assert opened_by(envelope(headers=headers, query=query)).malformed == 1


WRONG = [
    ({}, {}),
    ({"authorization": ""}, {}),
    ({"authorization": "Bearer"}, {}),
    ({"authorization": "Bearer "}, {}),
    ({"authorization": TOKEN}, {}),
    ({"authorization": f"Bearer {TOKEN}x"}, {}),
    ({"authorization": f"Bearer {TOKEN[:-1]}"}, {}),
    ({"authorization": f"Bearer {TOKEN.upper()}"}, {}),
    ({"authorization": "Bearer é\ud800"}, {}),
    ({"authorization": "Basic"}, {}),
    ({"authorization": "Basic !!!"}, {}),
    ({"authorization": "Basic /w=="}, {}),
    ({"authorization": "Basic " + base64.b64encode(TOKEN.encode()).decode()}, {}),
    (basic("", user=TOKEN), {}),
    (basic(f"{TOKEN}:"), {}),
    ({}, {"token": ""}),
    ({}, {"token": "wrong"}),
    ({}, {"TOKEN": TOKEN}),
    ({"x-token": TOKEN}, {}),
]


@pytest.mark.parametrize(("headers", "query"), WRONG)
@pytest.mark.parametrize("tokens", [(TOKEN,), (TOKEN, NEXT), (), ("",)])
def test_without_the_secret_nothing_is_read(
    headers: dict[str, str], query: dict[str, str], tokens: tuple[str, ...]
) -> None:
    door = S3EventDoor(destinations=("default",), tokens=tokens)
    for body in (json.dumps({"Records": [aws("k")]}).encode(), b"", b"{", b"[" * 100_000):
        with pytest.raises(NotAuthentic):
            open_at_once(door, envelope(body, headers=headers, query=query))


@given(st.text(), st.text(), st.binary(max_size=50))
def test_no_guess_opens_the_door_and_none_breaks_it(authorization: str, token: str, body: bytes) -> None:
    for headers in (
        {"authorization": authorization},
        {"authorization": f"Bearer {authorization}"},
        {"authorization": f"Basic {authorization}"},
    ):
        with pytest.raises(NotAuthentic):
            opened_by(envelope(body, headers=headers, query={"token": token}))


def test_two_secrets_are_good_while_one_is_rotated() -> None:
    door = S3EventDoor(destinations=("default",), tokens=(NEXT, TOKEN))
    for token in (TOKEN, NEXT):
        assert open_at_once(door, envelope(headers={"authorization": f"Bearer {token}"})).malformed == 1
    with pytest.raises(NotAuthentic):
        open_at_once(S3EventDoor(destinations=("default",), tokens=(NEXT,)), envelope())
