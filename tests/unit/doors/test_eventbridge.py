"""The EventBridge door: what its connection presents, and one event a call."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.errors import NotAuthentic
from broker.doors.eventbridge import EventBridgeDoor
from broker.ports import Envelope, Opened
from tests.unit.doors.senders import bridged, open_at_once

TOKEN, NEXT = "t0ken-of-the-connection", "the-next-token"
DOOR = EventBridgeDoor(destinations=("default",), tokens=(TOKEN, NEXT), key_header="x-api-key")
BASIC = base64.b64encode(f"eventbridge:{TOKEN}".encode()).decode()


def knock(
    event: object, headers: dict[str, str], *, query: dict[str, str] | None = None, door: EventBridgeDoor = DOOR
) -> Opened:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    headers = {"content-type": "application/json; charset=utf-8"} | headers
    return open_at_once(door, Envelope(headers=headers, query=query or {}, body=body))


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": TOKEN},
        {"x-api-key": NEXT},
        {"authorization": f"Basic {BASIC}"},
        {"authorization": f"Bearer {TOKEN}"},
    ],
)
def test_what_its_connection_was_given_opens_it(headers: dict[str, str]) -> None:
    (hint,) = knock(bridged("uploads/id/a+b.csv"), headers).hints
    assert (hint.bucket, hint.key, hint.is_removed) == ("acme", "uploads/id/a+b.csv", False)
    (hint,) = knock(bridged("uploads/id/a.csv", name="Object Deleted"), headers).hints
    assert hint.is_removed


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, {}),
        ({"x-api-key": ""}, {}),
        ({"x-api-key": TOKEN[:-1]}, {}),
        ({"x-api-key": f"{TOKEN} "}, {}),
        ({"x-api-key": f"Bearer {TOKEN}"}, {}),
        ({"api-key": TOKEN}, {}),
        ({"authorization": TOKEN}, {}),
        ({"authorization": f"Bearer {TOKEN}x"}, {}),
        ({"authorization": "Basic " + base64.b64encode(f"{TOKEN}:".encode()).decode()}, {}),
        ({}, {"token": TOKEN}),
        ({}, {"x-api-key": TOKEN}),
    ],
)
@pytest.mark.parametrize("body", [bridged("uploads/id/a.csv"), b"", b"[" * 100_000])
def test_nothing_is_read_without_it(headers: dict[str, str], query: dict[str, str], body: Any) -> None:
    with pytest.raises(NotAuthentic):
        knock(body, headers, query=query)


def test_the_header_is_the_one_that_the_connection_names() -> None:
    door = EventBridgeDoor(destinations=("default",), tokens=(TOKEN,), key_header="x-upload-key")
    assert knock(bridged("k"), {"x-upload-key": TOKEN}, door=door).hints
    with pytest.raises(NotAuthentic):
        knock(bridged("k"), {"x-api-key": TOKEN}, door=door)


@pytest.mark.parametrize(
    "event", [{}, {"detail-type": "Scheduled Event", "source": "aws.events"}, bridged("k", source="com.example")]
)
def test_another_event_moves_nothing(event: Any) -> None:
    opened = knock(event, {"x-api-key": TOKEN})
    assert not opened.hints
    assert opened.ignored + opened.malformed == 1


@given(st.binary(max_size=200), st.text(max_size=40))
def test_no_body_and_no_guess_breaks_it(body: bytes, guess: str) -> None:
    knock(body, {"x-api-key": TOKEN})
    with pytest.raises(NotAuthentic):
        knock(body, {"x-api-key": guess, "authorization": guess})
