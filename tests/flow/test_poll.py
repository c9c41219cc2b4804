"""`upload-broker poll` and nothing else tells of uploads here: every event of the store itself is lost."""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from moto.sts.models import sts_backends

from broker.dev.children import Child
from broker.dev.stack import Stack, StackOptions, start_stack
from broker.domain.errors import ConfigurationInvalid
from tests.moto_peer import MotoPeer, running_moto
from tests.queue_pollers import OBSERVER, poller_beside
from tests.unit.doors import senders

SECONDS = 40
BODY = b"123456789"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """It never looks by itself, as long as these tests take."""
    options = StackOptions(
        directory=tmp_path_factory.mktemp("poll") / "dev",
        policy={"first_look": "1h", "longest_look_interval": "1h"},
        faults={"events_lost": 1.0},
        consumers=0,
    )
    running = start_stack(options)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoPeer]:
    with running_moto() as peer:
        yield peer


@contextmanager
def polling(child: Child) -> Iterator[dict[str, Any]]:
    try:
        yield child.start()
    finally:
        child.kill()


class Client:
    def __init__(self, stack: Stack) -> None:
        self.about = stack.about

    def call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self.about.api_key}", "content-type": "application/json"}
        request = urllib.request.Request(self.about.broker + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            return json.load(response)

    def uploaded(self) -> tuple[str, str]:
        """Session and key of bytes that are there; nobody told."""
        session = self.call("POST", "/upload-sessions", {"filename": "a b+ü.txt", "size_bytes": len(BODY)})
        wanted = session["upload"]["request"]
        request = urllib.request.Request(wanted["url"], BODY, wanted["headers"], method="PUT")
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            assert response.status == 200
        return session["id"], session["object"]["key"]

    def state(self, session_id: str) -> str:
        return str(self.call("GET", f"/upload-sessions/{session_id}")["state"])

    def record(self, key: str) -> str:
        return json.dumps({"Records": [senders.aws(key, bucket=self.about.bucket)]})


@pytest.fixture
def client(stack: Stack) -> Client:
    return Client(stack)


def eventually(is_so: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < ends, what
        time.sleep(0.02)


def ask(url: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def send(moto: MotoPeer, url: str, *bodies: str) -> None:
    for body in bodies:
        moto.sqs.send_message(QueueUrl=url, MessageBody=body)


def topic_to(moto: MotoPeer, url: str, **attributes: str) -> str:
    topic = str(moto.sns.create_topic(Name=f"t{uuid4().hex}")["TopicArn"])
    moto.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=moto.arn(url), Attributes=attributes)
    return topic


def test_however_it_came_into_the_queue_an_event_verifies_its_upload(
    stack: Stack, moto: MotoPeer, client: Client
) -> None:
    url = moto.queue()
    uploads = [client.uploaded() for _ in range(4)]
    bare, wrapped, raw, bridged = (key for _, key in uploads)
    moto.sns.publish(TopicArn=topic_to(moto, url), Message=client.record(wrapped), Subject="Amazon S3 Notification")
    moto.sns.publish(TopicArn=topic_to(moto, url, RawMessageDelivery="true"), Message=client.record(raw))
    bridge = json.dumps(senders.bridged(bridged, bucket=stack.about.bucket))
    test_event = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": stack.about.bucket})
    send(moto, url, test_event, client.record(bare), client.record(bare), "poison", bridge)
    assert {client.state(session_id) for session_id, _ in uploads} == {"pending"}
    with polling(poller_beside(stack, moto, url)) as said:
        assert said["poller"] == "ready"
        eventually(lambda: {client.state(each) for each, _ in uploads} == {"verified"}, "all are verified")
        eventually(lambda: moto.count(url) == 0, "the queue is empty")
        assert ask(f"{said['health']}/readyz")[0] == 200
        status, told = ask(f"{said['health']}/metrics", authorization=f"Bearer {OBSERVER}")
        assert status == 200
        for line in (
            'broker_source_messages_total{fate="received",source="queue"} 7.0',
            'broker_source_messages_total{fate="deleted",source="queue"} 7.0',
            'broker_source_messages_total{fate="poison_deleted",source="queue"} 1.0',
            'broker_notification_records_total{result="accepted",source="queue"} 5.0',
            'broker_notification_records_total{result="malformed",source="queue"} 1.0',
            'broker_notification_records_total{result="ignored",source="queue"} 1.0',
            'broker_source_lag_seconds_count{source="queue"} 7.0',
        ):
            assert f"\n{line}\n" in told


def test_told_to_stop_it_goes_at_once_and_leaves_nothing_lent(stack: Stack, moto: MotoPeer, client: Client) -> None:
    url = moto.queue()
    child = poller_beside(stack, moto, url)
    with polling(child):
        session_id, key = client.uploaded()
        send(moto, url, client.record(key))
        eventually(lambda: client.state(session_id) == "verified", "it works")
        process = child.process
        assert process is not None
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
        assert time.monotonic() - began < 15
    assert moto.count(url) == 0
    log = child.log.read_text()
    assert "Traceback" not in log
    assert key not in log


def test_killed_again_and_again_it_loses_nothing(stack: Stack, moto: MotoPeer, client: Client) -> None:
    url = moto.queue()
    uploads = [client.uploaded() for _ in range(40)]
    first, second = (poller_beside(stack, moto, url, name=name, visibility="4s") for name in ("one", "two"))
    with polling(first), polling(second):
        for number, (_, key) in enumerate(uploads):
            send(moto, url, client.record(key), client.record(key))
            if number in {10, 20, 30}:
                killed = first if number % 20 else second
                killed.kill()
                killed.start()
        eventually(lambda: {client.state(each) for each, _ in uploads} == {"verified"}, "all are verified")
        eventually(lambda: moto.count(url) == 0, "the queue is empty")
    for session_id, _ in uploads:
        timeline = client.call("GET", f"/upload-sessions/{session_id}")["timeline"]
        assert [step["state"] for step in timeline].count("verified") == 1


def test_while_the_ledger_is_away_messages_wait(stack: Stack, moto: MotoPeer, client: Client) -> None:
    url = moto.queue()
    with polling(poller_beside(stack, moto, url)) as said:
        session_id, key = client.uploaded()
        stack.redis.kill()
        try:
            send(moto, url, client.record(key))
            eventually(lambda: ask(f"{said['health']}/readyz")[0] == 503, "it is not ready")
            assert ask(f"{said['health']}/healthz")[0] == 200
            assert moto.count(url) == 1
        finally:
            stack.redis.start()
        eventually(lambda: ask(f"{stack.about.broker}/readyz")[0] == 200, "the API is back")
        eventually(lambda: client.state(session_id) == "verified", "it is verified after all")
        eventually(lambda: moto.count(url) == 0, "the queue is empty")
        eventually(lambda: ask(f"{said['health']}/readyz")[0] == 200, "it is ready again")


def test_a_queue_that_is_not_there_is_said_where_somebody_looks(stack: Stack, moto: MotoPeer) -> None:
    missing = moto.queue() + "-typo"
    child = poller_beside(stack, moto, missing)
    with polling(child) as said:
        eventually(lambda: ask(f"{said['health']}/readyz")[0] == 503, "it is not ready")
        text = ask(f"{said['health']}/readyz")[1]
        assert json.loads(text)["problems"] == ["source 'queue': cannot receive (source-refused)"]
        assert child.is_alive
    assert f"there is no queue {missing}" in child.log.read_text()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"endpoint": "http://user:pw@127.0.0.1:1"}, "sources.queue: endpoint must not hold a password"),
        ({"queue_url": "https://sqs.us-east-1.amazonaws.com/1/q"}, "region 'eu-central-1' is not that of queue_url"),
        ({"visibility": "13h"}, "sources.queue.visibility: at least 4s and at most 12h"),
        ({"kind": "s3_event"}, "configuration: "),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    stack: Stack, moto: MotoPeer, settings: dict[str, object], sentence: str
) -> None:
    source = {"queue_url": f"{moto.url}/123456789012/q", **settings}
    child = poller_beside(stack, moto, name=f"bad{uuid4().hex}", **source)
    with pytest.raises(ConfigurationInvalid, match="did not start") as refused, polling(child):
        pass
    assert sentence in str(refused.value)
    assert "Traceback" not in str(refused.value)


def test_a_role_reads_the_queue(stack: Stack, moto: MotoPeer, client: Client) -> None:
    """moto checks no signature; whom it lent the role is in its own books."""
    url, role = moto.queue(), "arn:aws:iam::123456789012:role/poll"
    credentials = {
        "role_arn": role,
        "sts_endpoint": moto.url,
        "source": {"access_key_id": "AKIAHUB", "secret_access_key": {"env": "QUEUE_SECRET"}},
    }
    session_id, key = client.uploaded()
    send(moto, url, client.record(key))
    with polling(poller_beside(stack, moto, url, credentials=credentials)):
        eventually(lambda: client.state(session_id) == "verified", "it is verified")
        eventually(lambda: moto.count(url) == 0, "the queue is empty")
    assert [each.role_arn for each in sts_backends["123456789012"]["aws"].assumed_roles] == [role]


def test_poison_goes_where_the_queue_puts_it_and_nothing_else_does(
    stack: Stack, moto: MotoPeer, client: Client
) -> None:
    dead = moto.queue()
    url = moto.queue(RedrivePolicy=json.dumps({"deadLetterTargetArn": moto.arn(dead), "maxReceiveCount": 2}))
    child = poller_beside(stack, moto, url, visibility="4s")
    with polling(child):
        session_id, key = client.uploaded()
        send(moto, url, "a-secret-word is not JSON", client.record(key))
        eventually(lambda: client.state(session_id) == "verified", "it is verified")
        eventually(lambda: moto.count(dead) == 1, "the poison is put aside")
    (message,) = moto.sqs.receive_message(QueueUrl=dead)["Messages"]
    assert message["Body"] == "a-secret-word is not JSON"
    assert moto.count(url) == 0
    log = child.log.read_text()
    assert message["MessageId"] in log
    assert "a-secret-word" not in log


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["poll"], "no source is a queue"),
        (["poll", "dev"], "no source is a queue"),
    ],
)
def test_without_a_queue_there_is_nothing_to_poll(stack: Stack, argv: list[str], sentence: str) -> None:
    command = [sys.executable, "-m", "broker", *argv, "--config", str(stack.options.directory / "broker.toml")]
    done = subprocess.run(command, env=stack.broker.env, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_source_that_is_no_queue_cannot_be_named(stack: Stack, moto: MotoPeer) -> None:
    child = poller_beside(stack, moto, moto.queue(), name="stranger")
    child.argv = [*child.argv, "dev"]
    with pytest.raises(ConfigurationInvalid, match="there is no source 'dev' that is a queue, only"), polling(child):
        pass
