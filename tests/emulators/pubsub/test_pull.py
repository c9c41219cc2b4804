"""A message is lent until it is acknowledged, and the emulator takes nothing that Pub/Sub would not."""

import base64
import http.client
import json
import threading
import time
from typing import Any

import pytest

from tests.emulators.pubsub.conftest import Puller, eventually, refusal
from tests.pubsub_peer import PROJECT, PubsubPeer

HELLO = {"data": base64.b64encode(b"hello").decode(), "attributes": {"eventType": "X", "ü": ""}}


def puller(peer: PubsubPeer, topic: str, **settings: Any) -> Puller:
    return Puller(peer, peer.subscription(topic, **settings))


def test_every_subscription_gets_what_is_published_as_it_was_published(peer: PubsubPeer) -> None:
    topic = peer.topic()
    one, other = puller(peer, topic), puller(peer, topic)
    stranger = puller(peer, peer.topic())
    peer.publish(topic, HELLO, {"attributes": {"a": "b"}})
    for each in (one, other):
        first, second = each.pull()
        assert {name: first["message"][name] for name in HELLO} == HELLO
        assert set(first["message"]) == {"data", "attributes", "messageId", "publishTime"}
        assert set(second["message"]) == {"attributes", "messageId", "publishTime"}  # as JSON of a protocol buffer
        assert "deliveryAttempt" not in first
    assert stranger.pull(waits=False) == []


def test_what_is_acknowledged_is_gone_and_what_is_not_comes_again_by_another_ack_id(peer: PubsubPeer) -> None:
    topic = peer.topic()
    one = puller(peer, topic, ack_seconds=1)
    peer.publish(topic, HELLO, HELLO)
    first, second = one.pull()
    one.acknowledge(first["ackId"])
    (again,) = one.pull()
    assert again["message"] == second["message"]
    assert again["ackId"] != second["ackId"]
    one.acknowledge(second["ackId"])  # lent again since: not taken, and nobody says so
    assert peer.count(one.name) == 1
    one.acknowledge(again["ackId"], first["ackId"])
    assert peer.count(one.name) == 0


def test_what_is_given_back_comes_at_once_and_what_is_prolonged_later(peer: PubsubPeer) -> None:
    topic = peer.topic()
    one = puller(peer, topic, ack_seconds=1)
    peer.publish(topic, HELLO)
    (lent,) = one.pull()
    one.modify(0, lent["ackId"])
    (lent,) = one.pull(waits=False)
    one.modify(600, lent["ackId"])
    began = time.monotonic()
    assert one.pull() == []  # until the pull itself is over
    assert time.monotonic() - began > 1.5
    assert peer.counters()["backlog"][one.name] == {"messages": 1, "lent": 1}


def test_a_pull_waits_for_a_message_and_gets_no_more_than_it_asked_for(peer: PubsubPeer) -> None:
    topic = peer.topic()
    one = puller(peer, topic)
    threading.Timer(0.2, peer.publish, [topic, *[HELLO] * 5]).start()
    assert 1 <= len(one.pull(3)) <= 3


def test_nothing_is_lent_to_somebody_who_hung_up(peer: PubsubPeer) -> None:
    topic = peer.topic()
    one = puller(peer, topic)
    host = peer.url.removeprefix("http://")
    for _ in range(5):
        gone = http.client.HTTPConnection(host, timeout=5)
        gone.request("POST", f"/v1/{one.name}:pull", json.dumps({"maxMessages": 10}))
        gone.close()
    peer.publish(topic, HELLO)
    assert len(one.pull()) == 1


def test_what_came_too_often_goes_to_the_dead_letter_topic(peer: PubsubPeer) -> None:
    topic, dead = peer.topic(), peer.topic()
    one, aside = puller(peer, topic, dead=dead), puller(peer, dead)
    peer.publish(topic, HELLO)
    for attempt in range(1, 6):
        (lent,) = one.pull()
        assert lent["deliveryAttempt"] == attempt
        one.modify(0, lent["ackId"])
    assert one.pull(waits=False) == []
    (found,) = aside.pull()
    told = found["message"]["attributes"]
    assert told["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
    assert told["CloudPubSubDeadLetterSourceSubscription"] == one.name.rpartition("/")[2]
    assert found["message"]["data"] == HELLO["data"]
    description = peer.call("GET", f"v1/{one.name}")
    assert description["deadLetterPolicy"] == {"deadLetterTopic": dead, "maxDeliveryAttempts": 5}


def test_who_waits_for_a_subscription_that_is_deleted_is_told(peer: PubsubPeer) -> None:
    one = puller(peer, peer.topic())
    threading.Timer(0.2, peer.delete, [one.name]).start()
    assert refusal(one.pull) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "body", "refused"),
    [
        ("POST", "{topic}:publish", {"messages": [{}]}, (400, "INVALID_ARGUMENT")),
        ("POST", "{topic}:publish", {"messages": [{"data": "!"}]}, (400, "INVALID_ARGUMENT")),
        ("POST", "{topic}:publish", {"messages": [{"attributes": {"a": 7}}]}, (400, "INVALID_ARGUMENT")),
        ("POST", "{topic}:publish", {"messages": [{"attributes": {"a": "ü" * 513}}]}, (400, "INVALID_ARGUMENT")),
        ("POST", "{topic}:publish", {"messages": [{"attributes": {"": "a"}}]}, (400, "INVALID_ARGUMENT")),
        ("POST", "{topic}:publish", {}, (400, "INVALID_ARGUMENT")),
        ("POST", "{project}/topics/none:publish", {"messages": [HELLO]}, (404, "NOT_FOUND")),
        ("POST", "{project}/subscriptions/none:pull", {"maxMessages": 1}, (404, "NOT_FOUND")),
        ("POST", "{subscription}:pull", {"maxMessages": 0}, (400, "INVALID_ARGUMENT")),
        ("POST", "{subscription}:pull", {}, (400, "INVALID_ARGUMENT")),
        ("POST", "{pushing}:pull", {"maxMessages": 1}, (400, "FAILED_PRECONDITION")),
        ("POST", "{subscription}:acknowledge", {"ackIds": ["nonsense"]}, (400, "INVALID_ARGUMENT")),
        ("POST", "{subscription}:acknowledge", {"ackIds": ["0" * 16 + "-1-1"]}, (400, "INVALID_ARGUMENT")),
        (
            "POST",
            "{subscription}:modifyAckDeadline",
            {"ackIds": [], "ackDeadlineSeconds": 601},
            (400, "INVALID_ARGUMENT"),
        ),
        ("POST", "{subscription}:modifyPushConfig", {}, (501, "UNIMPLEMENTED")),
        ("GET", "{subscription}:pull", None, (501, "UNIMPLEMENTED")),
        ("PUT", "{subscription}", {"topic": "{topic}"}, (409, "ALREADY_EXISTS")),
        ("PUT", "{topic}", {}, (409, "ALREADY_EXISTS")),
        ("PUT", "{project}/subscriptions/new1", {"topic": "{project}/topics/none"}, (404, "NOT_FOUND")),
        ("PUT", "{project}/subscriptions/a", {"topic": "{topic}"}, (400, "INVALID_ARGUMENT")),
        ("PUT", "{project}/topics/1st", {}, (400, "INVALID_ARGUMENT")),
        ("GET", "{project}/topics", None, (404, "NOT_FOUND")),
    ],
)
def test_what_pubsub_would_not_take_is_refused(
    peer: PubsubPeer, method: str, path: str, body: Any, refused: tuple[int, str]
) -> None:
    topic = peer.topic()
    names = {
        "project": PROJECT,
        "topic": topic,
        "subscription": peer.subscription(topic),
        "pushing": peer.subscription(topic, pushConfig={"pushEndpoint": "http://127.0.0.1:9/"}),
    }
    wish = body if body is None or "topic" not in body else {"topic": body["topic"].format(**names)}
    assert refusal(lambda: peer.call(method, "v1/" + path.format(**names), wish)) == refused


def test_messages_are_doubled_lost_and_late_on_demand(peer: PubsubPeer) -> None:
    topic = peer.topic()
    one = puller(peer, topic)
    peer.call("PUT", "_emulator/faults", {"events_doubled": 1})
    peer.publish(topic, HELLO)
    first, second = one.pull()
    assert first["message"]["messageId"] == second["message"]["messageId"]
    assert first["ackId"] != second["ackId"]
    peer.call("PUT", "_emulator/faults", {"events_lost": 1})
    peer.publish(topic, HELLO)
    assert peer.count(one.name) == 2
    peer.call("PUT", "_emulator/faults", {"late_seconds": 0.5})
    peer.publish(topic, HELLO)
    assert one.pull(waits=False) == []
    assert len(one.pull()) == 1


def test_calls_fail_and_answers_get_lost_on_demand(peer: PubsubPeer) -> None:
    topic = peer.topic()
    one = puller(peer, topic, ack_seconds=1)
    peer.publish(topic, HELLO)
    peer.call("PUT", "_emulator/faults", {"unavailable": 1})
    assert refusal(one.pull) == (503, "UNAVAILABLE")
    peer.call("PUT", "_emulator/faults", {"response_lost": 1})
    with pytest.raises(ConnectionError):
        one.pull()
    peer.call("PUT", "_emulator/faults", {})
    eventually(lambda: len(one.pull(waits=False)) == 1, "what nobody got comes again")
