"""What happened is published: as Cloud Storage does, after the fact, at least once – unless a fault says otherwise."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emulators.gcs.process import GcsProcess, start_gcs
from emulators.google_iam.process import GoogleIamProcess
from emulators.pubsub.process import start_pubsub
from tests.emulators.gcs.conftest import (
    ADMIN,
    EVERYTHING,
    Api,
    Tokens,
    api_of,
    counters,
    faults,
    insert_path,
    object_path,
    until,
)
from tests.emulators.receiver import Receiver, receiving
from tests.emulators.wire import exchange

TOPIC = "/v1/projects/project-1/topics/uploads"
GRANTS = (f"uploads:{ADMIN}={EVERYTHING}", f"versions:{ADMIN}={EVERYTHING}")
BUCKETS = ("uploads", "versions@versioned")


@pytest.fixture
def topic() -> Iterator[Receiver]:
    with receiving() as receiver:
        receiver.url = receiver.url.replace("/hook", TOPIC)
        yield receiver


@pytest.fixture
def loud(iam: GoogleIamProcess, topic: Receiver, tmp_path: Path) -> Iterator[GcsProcess]:
    with start_loud(iam, topic, tmp_path) as process:
        yield process


def start_loud(iam: GoogleIamProcess, topic: Receiver, data: Path, *arguments: str) -> GcsProcess:
    notify = {"uploads": topic.url, "versions": topic.url}
    return start_gcs(iam=iam.endpoint, data=data, buckets=BUCKETS, grants=GRANTS, notify=notify, arguments=arguments)


@pytest.fixture
def do(loud: GcsProcess, token: Tokens) -> Api:
    return api_of(loud, token)


def messages(topic: Receiver, count: int) -> list[dict[str, Any]]:
    def seen() -> list[dict[str, Any]]:
        return [message for _, _, body in list(topic.requests) for message in body["messages"]]

    until(lambda: len(seen()) >= count)
    return seen()


def kinds(topic: Receiver, count: int) -> list[str]:
    return [message["attributes"]["eventType"] for message in messages(topic, count)]


def is_quiet(process: GcsProcess) -> bool:
    return bool(counters(process)["events"]["waiting"] == 0)


def test_message_has_googles_attributes_and_payload(topic: Receiver, do: Api) -> None:
    made = json.loads(do("POST", insert_path("a b+ü/x"), ADMIN, b"12345").body)
    (message,) = messages(topic, 1)
    assert topic.requests[0][0] == f"{TOPIC}:publish"
    attributes = message["attributes"]
    assert attributes.pop("eventTime").endswith("Z")
    assert attributes == {
        "notificationConfig": "projects/_/buckets/uploads/notificationConfigs/1",
        "eventType": "OBJECT_FINALIZE",
        "payloadFormat": "JSON_API_V1",
        "bucketId": "uploads",
        "objectId": "a b+ü/x",
        "objectGeneration": made["generation"],
    }
    payload = json.loads(base64.b64decode(message["data"]))
    assert (payload["kind"], payload["crc32c"], payload["size"]) == ("storage#object", "GNEjNQ==", "5")


def test_every_kind_of_change_is_published(topic: Receiver, do: Api) -> None:
    first = json.loads(do("POST", insert_path("k"), ADMIN, b"1").body)["generation"]
    messages(topic, 1)
    second = json.loads(do("POST", insert_path("k"), ADMIN, b"2").body)["generation"]
    assert sorted(kinds(topic, 3)[1:]) == ["OBJECT_DELETE", "OBJECT_FINALIZE"]
    told = {each["attributes"]["eventType"]: each["attributes"] for each in messages(topic, 3)[1:]}
    assert told["OBJECT_FINALIZE"]["overwroteGeneration"] == first
    assert told["OBJECT_DELETE"]["objectGeneration"] == first
    assert told["OBJECT_DELETE"]["overwrittenByGeneration"] == second
    do("PATCH", object_path("k"), ADMIN, {"metadata": {"a": "1"}})
    assert kinds(topic, 4)[3] == "OBJECT_METADATA_UPDATE"
    do("DELETE", object_path("k"))
    assert kinds(topic, 5)[4] == "OBJECT_DELETE"


def test_versioned_bucket_archives(topic: Receiver, do: Api) -> None:
    first = json.loads(do("POST", insert_path("k", "versions"), ADMIN, b"1").body)["generation"]
    messages(topic, 1)
    do("DELETE", object_path("k", "versions"))
    messages(topic, 2)
    do("DELETE", object_path("k", "versions", f"generation={first}"))
    assert kinds(topic, 3) == ["OBJECT_FINALIZE", "OBJECT_ARCHIVE", "OBJECT_DELETE"]


def test_resumable_upload_is_published_once_when_it_ends(topic: Receiver, do: Api, loud: GcsProcess) -> None:
    location = do("POST", insert_path("k", kind="resumable"), ADMIN, {}).headers["location"]
    target = location.removeprefix(loud.endpoint)
    assert counters(loud)["events"]["created"] == 0
    for _ in range(2):
        assert do("PUT", target, None, b"12345").status == 200
    messages(topic, 1)
    assert counters(loud)["events"]["created"] == 1


def test_refused_upload_is_not_published(do: Api, loud: GcsProcess) -> None:
    assert do("POST", insert_path("k"), ADMIN, b"1", {"x-goog-hash": "crc32c=AAAAAA=="}).status == 400
    assert do("POST", insert_path("k", query="ifGenerationMatch=7"), ADMIN, b"1").status == 412
    assert counters(loud)["events"]["created"] == 0


def test_message_is_published_again_until_it_is_taken(topic: Receiver, do: Api, loud: GcsProcess) -> None:
    topic.answers += [503, 404, 429]
    do("POST", insert_path("k"), ADMIN, b"1")
    until(lambda: is_quiet(loud))
    counted = counters(loud)["events"]
    assert (counted["created"], counted["failed"], counted["sent"]) == (1, 3, 1)


def test_message_outlives_the_process(iam: GoogleIamProcess, token: Tokens, topic: Receiver, tmp_path: Path) -> None:
    topic.answers += [503] * 10_000
    with start_loud(iam, topic, tmp_path) as gcs:
        assert api_of(gcs, token)("POST", insert_path("k"), ADMIN, b"1").status == 200
        until(lambda: counters(gcs)["events"]["failed"] > 0)
        gcs.kill()
    topic.answers.clear()
    topic.requests.clear()
    with start_loud(iam, topic, tmp_path) as gcs:
        assert kinds(topic, 1) == ["OBJECT_FINALIZE"]
        until(lambda: is_quiet(gcs))
    topic.requests.clear()
    with start_loud(iam, topic, tmp_path) as gcs:
        until(lambda: is_quiet(gcs))
        assert topic.requests == []


def test_messages_can_be_lost_or_doubled(topic: Receiver, do: Api, loud: GcsProcess) -> None:
    faults(loud, events_lost=1)
    do("POST", insert_path("lost"), ADMIN, b"")
    faults(loud, events_doubled=1)
    do("POST", insert_path("doubled"), ADMIN, b"")
    assert [each["attributes"]["objectId"] for each in messages(topic, 2)] == ["doubled"] * 2
    until(lambda: is_quiet(loud))
    counted = counters(loud)["events"]
    assert (counted["created"], counted["lost"], counted["doubled"]) == (2, 1, 1)


def test_messages_can_be_late_and_out_of_order(topic: Receiver, do: Api, loud: GcsProcess) -> None:
    faults(loud, events_reordered=0.5, reorder_seconds=0.5, seed=3)
    for number in range(10):
        do("POST", insert_path(str(number)), ADMIN, b"")
    order = [each["attributes"]["objectId"] for each in messages(topic, 10)]
    assert sorted(order) == [str(number) for number in range(10)]
    assert order != sorted(order)


def test_configuration_that_a_client_made_is_obeyed(
    iam: GoogleIamProcess, token: Tokens, topic: Receiver, tmp_path: Path
) -> None:
    pubsub = topic.url.removesuffix(TOPIC)
    where = "/storage/v1/b/uploads/notificationConfigs"
    wish = {
        "topic": "//pubsub.googleapis.com/projects/project-1/topics/uploads",
        "event_types": ["OBJECT_DELETE"],
        "object_name_prefix": "in/",
        "payload_format": "NONE",
        "custom_attributes": {"a": "1"},
    }
    with start_gcs(
        iam=iam.endpoint, data=tmp_path, buckets=BUCKETS, grants=GRANTS, arguments=[f"--pubsub={pubsub}"]
    ) as gcs:
        do = api_of(gcs, token)
        made = json.loads(do("POST", where, ADMIN, wish).body)
        for name in ("in/k", "out/k"):
            do("POST", insert_path(name), ADMIN, b"1")
            do("DELETE", object_path(name))
        (message,) = messages(topic, 1)
        assert message["attributes"]["objectId"] == "in/k"
        assert (message["attributes"]["a"], "data" in message) == ("1", False)
        assert do("DELETE", f"{where}/{made['id']}").status == 204
        assert do("DELETE", f"{where}/{made['id']}").status == 404
        do("POST", insert_path("in/k"), ADMIN, b"1")
        do("DELETE", object_path("in/k"))
        until(lambda: is_quiet(gcs))
        assert len(messages(topic, 1)) == 1


def test_pubsub_hands_on_what_the_bucket_said(iam: GoogleIamProcess, token: Tokens) -> None:
    topic, subscription = "projects/project-1/topics/uploads", "projects/project-1/subscriptions/pulled"
    with (
        start_pubsub(topics=(topic,), subscriptions=(f"{subscription}={topic}",)) as pubsub,
        start_gcs(iam=iam.endpoint, grants=GRANTS[:1], notify={"uploads": f"{pubsub.endpoint}/v1/{topic}"}) as gcs,
    ):
        made = json.loads(api_of(gcs, token)("POST", insert_path("k"), ADMIN, b"12345").body)
        pulled = exchange(pubsub.endpoint, "POST", f"/v1/{subscription}:pull", body=b'{"maxMessages": 1}')
        (received,) = json.loads(pulled.body)["receivedMessages"]
        assert received["message"]["attributes"]["objectGeneration"] == made["generation"]
        assert json.loads(base64.b64decode(received["message"]["data"]))["crc32c"] == "GNEjNQ=="
