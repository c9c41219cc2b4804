"""Cloud Storage tells Pub/Sub, and Pub/Sub the broker: pushed, or pulled by `upload-broker poll`. No hand in between.

Nothing else tells of uploads here: the broker does not look by itself for as long as these tests take.
"""

import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from broker.dev.children import Child
from broker.doors.pubsub_pull import BATCH
from broker.settings import PubsubSource
from tests.gcs_world import AUDIENCE, BROKER, BUCKET, PULLED, PUSHER, TOPIC, GcsWorld, gcs_world
from tests.pubsub_peer import PubsubPeer
from tests.unit.doors.google_world import pushed, told

SECONDS = 40
RECEIVERS = PubsubSource(destinations=("default",), subscription=PULLED).receivers
SMALL, LARGE = b"123456789", b"a" * 262_144 * 2


@dataclass(frozen=True, slots=True)
class Client:
    world: GcsWorld
    pubsub: PubsubPeer

    def call(self, method: str, url: str, body: object = None, **headers: str) -> Any:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"content-type": "application/json"} | headers, method=method)
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            text = response.read()
            return json.loads(text) if text else None

    def broker(self, method: str, path: str, body: object = None) -> Any:
        return self.call(method, self.world.url + path, body, authorization=f"Bearer {self.world.api_key}")

    def uploaded(self, body: bytes = SMALL) -> tuple[str, str]:
        """Session and key of an upload whose client says nothing when it is done."""
        session = self.broker("POST", "/upload-sessions", {"filename": "a b+ü.txt", "size_bytes": len(body)})
        wanted = session["upload"]["request"]
        self.call("PUT", wanted["url"], body, **{"content-type": "application/octet-stream", **wanted["headers"]})
        return session["id"], session["object"]["key"]

    def session(self, session_id: str) -> Any:
        return self.broker("GET", f"/upload-sessions/{session_id}")

    def is_verified(self, *sessions: tuple[str, str]) -> bool:
        return {self.session(session_id)["state"] for session_id, _ in sessions} == {"verified"}

    def settled_once(self, *sessions: tuple[str, str]) -> bool:
        """Whatever came twice."""
        timelines = [self.session(session_id)["timeline"] for session_id, _ in sessions]
        return all([step["state"] for step in each].count("verified") == 1 for each in timelines)

    def faults(self, endpoint: str, **settings: object) -> None:
        self.call("PUT", f"{endpoint}/_emulator/faults", settings)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsWorld]:
    with gcs_world(tmp_path_factory.mktemp("gcs")) as world:
        yield world


@pytest.fixture(scope="module")
def client(world: GcsWorld) -> Client:
    credentials = service_account.Credentials.from_service_account_file(
        str(world.iam.key_files[BROKER]), scopes=["https://www.googleapis.com/auth/pubsub"]
    )
    credentials.refresh(Request())
    return Client(world, PubsubPeer(world.pubsub.endpoint, credentials.token))


@contextmanager
def pushing(client: Client) -> Iterator[str]:
    """A subscription that calls the broker."""
    token = {"serviceAccountEmail": PUSHER, "audience": AUDIENCE}
    config = {"pushEndpoint": f"{client.world.url}/notifications/push", "oidcToken": token}
    name = client.pubsub.subscription(TOPIC, pushConfig=config)
    try:
        yield name
    finally:
        client.pubsub.delete(name)


@contextmanager
def pulled(client: Client, **more: Any) -> Iterator[str]:
    """The subscription that the broker's configuration names."""
    client.pubsub.subscription(TOPIC, name=PULLED, **more)
    try:
        yield PULLED
    finally:
        client.pubsub.delete(PULLED)


def poller(client: Client, name: str = "poller") -> Child:
    config = str(client.world.directory / "broker.toml")
    argv = [*client.world.broker.argv[:3], "poll", "pull", "--config", config, "--json", "--health-port", "0"]
    return replace(client.world.broker, name=name, argv=argv, env={"PATH": ""}, process=None)


@contextmanager
def polling(child: Child) -> Iterator[dict[str, Any]]:
    try:
        yield child.start()
    finally:
        child.kill()


def eventually(is_so: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < ends, what
        time.sleep(0.02)  # who works here is another process


def status_of(method: str, url: str, body: object = None, **headers: str) -> int:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"} | headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as got:
            return int(got.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


# --- pushed


def test_while_googles_certificates_cannot_be_had_pubsub_comes_again(client: Client) -> None:
    """The first: later they are known, and kept."""
    client.faults(client.world.iam.endpoint, routes=["certs"], unavailable=1.0)
    with pushing(client) as subscription:
        upload = client.uploaded()
        eventually(lambda: client.pubsub.counters()["messages"]["push_failed"] > 0, "it was turned away")
        assert not client.is_verified(upload)
        client.faults(client.world.iam.endpoint)
        eventually(lambda: client.is_verified(upload), "it is verified after all")
        eventually(lambda: client.pubsub.count(subscription) == 0, "nothing is left to tell")


def test_what_was_uploaded_is_pushed_and_verified(client: Client) -> None:
    with pushing(client) as subscription:
        client.faults(client.world.pubsub.endpoint, events_doubled=1.0)
        uploads = [client.uploaded(), client.uploaded(LARGE), client.uploaded()]
        eventually(lambda: client.is_verified(*uploads), "all are verified")
        eventually(lambda: client.pubsub.count(subscription) == 0, "nothing is left to tell")
        client.faults(client.world.pubsub.endpoint)
    assert client.settled_once(*uploads)


def test_nobody_else_pushes(client: Client) -> None:
    """Signed by the key that Google publishes: it is what the token says that is wrong."""
    upload = client.uploaded()
    message = pushed(told(upload[1], bucket=BUCKET))
    url, ids = f"{client.world.url}/notifications/push", f"{client.world.iam.endpoint}/_emulator/id-tokens"

    def token(email: str = PUSHER, audience: str = AUDIENCE, **claims: object) -> str:
        asked = {"email": email, "audience": audience, "claims": claims}
        return str(client.call("POST", ids, asked)["token"])

    strangers = [
        token(email="else@acme.iam.gserviceaccount.com"),
        token(audience=client.world.url),
        token(email_verified=False),
        token(iss="https://evil.example"),
        token(exp=int(time.time()) - 60),
        token()[:-8] + "AAAAAAAA",
        "",
    ]
    for each in strangers:
        assert status_of("POST", url, message, authorization=f"Bearer {each}") == 401
    assert status_of("POST", url, message) == 401
    assert not client.is_verified(upload)
    assert status_of("POST", url, message, authorization=f"Bearer {token()}") == 200
    eventually(lambda: client.is_verified(upload), "it is verified")
    assert not [each for each in strangers if each and each in client.world.broker.log.read_text()]


# --- pulled


def test_what_was_uploaded_is_pulled_and_verified(client: Client) -> None:
    with pulled(client) as subscription:
        client.faults(client.world.pubsub.endpoint, events_doubled=1.0)
        uploads = [client.uploaded(), client.uploaded(LARGE), client.uploaded()]
        client.pubsub.send(TOPIC, "hello")
        eventually(lambda: client.pubsub.count(subscription) >= 8, "all was told twice")
        client.faults(client.world.pubsub.endpoint, unavailable=0.3)
        with polling(poller(client)) as said:
            eventually(lambda: client.is_verified(*uploads), "all are verified")
            client.faults(client.world.pubsub.endpoint)
            client.pubsub.publish(TOPIC, {"attributes": {"eventType": "OBJECT_FINALIZE"}})  # of what, it does not say
            eventually(lambda: client.pubsub.count(subscription) == 0, "nothing is left to tell")
            eventually(lambda: status_of("GET", f"{said['health']}/readyz") == 200, "it is ready")
    assert client.settled_once(*uploads)


def test_told_to_stop_it_goes_at_once_and_leaves_nothing_lent(client: Client) -> None:
    with pulled(client) as subscription:
        child = poller(client)
        with polling(child):
            upload = client.uploaded()
            eventually(lambda: client.is_verified(upload), "it works")
            process = child.process
            assert process is not None
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
            assert time.monotonic() - began < 15
        assert client.pubsub.count(subscription) == 0
        log = child.log.read_text()
        assert "Traceback" not in log
        assert upload[1] not in log


def test_killed_again_and_again_it_loses_nothing(client: Client) -> None:
    with pulled(client, ack_seconds=2) as subscription:
        first, second = poller(client, "one"), poller(client, "two")
        client.faults(client.world.pubsub.endpoint, events_doubled=0.3, response_lost=0.1, seed=5)
        with polling(first), polling(second):
            uploads = []
            for number in range(40):
                uploads.append(client.uploaded())
                if number in {10, 20, 30}:
                    killed = first if number % 20 else second
                    killed.kill()
                    killed.start()
            eventually(lambda: client.is_verified(*uploads), "all are verified")
            client.faults(client.world.pubsub.endpoint)
            eventually(lambda: client.pubsub.count(subscription) == 0, "nothing is left to tell")
    assert client.settled_once(*uploads)


def test_while_the_ledger_is_away_messages_wait_and_few_are_in_hand(client: Client) -> None:
    with pulled(client) as subscription, polling(poller(client)) as said:
        session = client.broker("POST", "/upload-sessions", {"filename": "late", "size_bytes": len(SMALL)})
        client.world.redis.kill()
        try:
            wanted = session["upload"]["request"]
            client.call("PUT", wanted["url"], SMALL, **wanted["headers"])
            eventually(lambda: client.pubsub.count(subscription) >= 1, "it was told")
            again = told(session["object"]["key"], bucket=BUCKET)
            client.pubsub.publish(TOPIC, *[again] * 1_000)
            eventually(lambda: client.pubsub.backlog(subscription)["lent"] > 0, "some are in hand")
            eventually(lambda: status_of("GET", f"{said['health']}/readyz") == 503, "it is not ready")
            backlog = client.pubsub.backlog(subscription)
            assert backlog["messages"] >= 1_001
            assert backlog["lent"] <= RECEIVERS * BATCH  # none, when all that was in hand was let go
        finally:
            client.world.redis.start()
        eventually(lambda: status_of("GET", f"{client.world.url}/readyz") == 200, "the API is back")
        eventually(lambda: client.is_verified((session["id"], "")), "it is verified after all")
        assert client.settled_once((session["id"], ""))
        eventually(lambda: client.pubsub.count(subscription) == 0, "nothing is left to tell")


def test_poison_goes_where_the_subscription_puts_it_and_nothing_else_does(client: Client) -> None:
    dead = client.pubsub.topic()
    kept = client.pubsub.subscription(dead)
    with pulled(client, ack_seconds=1, dead=dead) as subscription:
        child = poller(client)
        with polling(child):
            upload = client.uploaded()
            client.pubsub.publish(TOPIC, {"attributes": {"eventType": "OBJECT_FINALIZE", "bucketId": "a-secret-word"}})
            eventually(lambda: client.is_verified(upload), "it is verified")
            eventually(lambda: client.pubsub.count(kept) == 1, "the poison is put aside")
            eventually(lambda: client.pubsub.count(subscription) == 0, "nothing else is left")
    log = child.log.read_text()
    assert "poison.found" in log
    assert "a-secret-word" not in log


def test_a_subscription_that_is_not_there_is_said_where_somebody_looks(client: Client) -> None:
    child = poller(client)
    with polling(child) as said:
        eventually(lambda: status_of("GET", f"{said['health']}/readyz") == 503, "it is not ready")
        with pytest.raises(urllib.error.HTTPError) as refused:
            client.call("GET", f"{said['health']}/readyz")
        with refused.value as answer:
            assert json.load(answer)["problems"] == ["source 'pull': cannot receive (source-refused)"]
        assert child.is_alive
    assert f"there is no subscription {PULLED}" in child.log.read_text()
