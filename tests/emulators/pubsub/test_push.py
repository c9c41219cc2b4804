"""Messages are posted until they are taken, each call with a token that google-auth accepts; and who may pull."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests
from google.auth.transport.requests import Request
from google.oauth2 import id_token, service_account

from emulators.google_iam.process import GoogleIamProcess, start_google_iam
from emulators.pubsub.process import PubsubProcess, start_pubsub
from tests.emulators.pubsub.conftest import Puller, eventually, refusal
from tests.emulators.receiver import Receiver, receiving
from tests.pubsub_peer import PubsubPeer

TOPIC, PUSHED, PULLED = (
    "projects/p/topics/uploads",
    "projects/p/subscriptions/pushed",
    "projects/p/subscriptions/pulled",
)
PUSHER, POLLER, OTHER = (f"{name}@acme.iam.gserviceaccount.com" for name in ("pusher", "poller", "other"))
AUDIENCE = "https://broker.example"
PUBSUB, STORAGE = "https://www.googleapis.com/auth/pubsub", "https://www.googleapis.com/auth/devstorage.read_only"


@dataclass(frozen=True)
class World:
    iam: GoogleIamProcess
    pubsub: PubsubProcess
    receiver: Receiver

    def peer(self, email: str = "", scope: str = PUBSUB) -> PubsubPeer:
        """Who is calling; nobody by default."""
        if not email:
            return PubsubPeer(self.pubsub.endpoint)
        file = str(self.iam.key_files[email])
        credentials = service_account.Credentials.from_service_account_file(file, scopes=[scope])
        with requests.Session() as session:
            credentials.refresh(Request(session))
        return PubsubPeer(self.pubsub.endpoint, credentials.token)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with receiving() as receiver, start_google_iam(accounts=(POLLER, OTHER)) as iam:
        subscriptions = [
            f"{PUSHED}={TOPIC},push={receiver.url},audience={AUDIENCE},email={PUSHER}",
            f"{PULLED}={TOPIC},consumer={POLLER}",
        ]
        with start_pubsub(iam=iam.endpoint, topics=[TOPIC], subscriptions=subscriptions) as pubsub:
            yield World(iam, pubsub, receiver)


def test_a_push_is_wrapped_and_bears_a_token_that_google_auth_accepts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.receiver.requests.clear()
    world.peer().publish(TOPIC, {"attributes": {"eventType": "OBJECT_FINALIZE"}})
    eventually(lambda: len(world.receiver.requests) == 1, "it is posted")
    ((_, headers, body),) = world.receiver.requests
    assert set(body) == {"message", "subscription"}
    assert body["subscription"] == PUSHED
    assert body["message"]["attributes"] == {"eventType": "OBJECT_FINALIZE"}
    monkeypatch.setattr(id_token, "_GOOGLE_OAUTH2_CERTS_URL", f"{world.iam.endpoint}/oauth2/v1/certs")
    token = headers["authorization"].removeprefix("Bearer ")
    with requests.Session() as session:
        claims = id_token.verify_oauth2_token(token, Request(session), audience=AUDIENCE)
    assert (claims["email"], claims["email_verified"]) == (PUSHER, True)


@pytest.mark.parametrize("answer", [200, 201, 202, 204])
def test_some_answers_take_a_message(world: World, answer: int) -> None:
    world.receiver.requests.clear()
    world.receiver.answers[:] = [answer]
    before = world.peer().counters()["messages"]["pushed"]
    world.peer().send(TOPIC, "hello")
    eventually(lambda: world.peer().counters()["messages"]["pushed"] == before + 1, "it is taken")
    assert len(world.receiver.requests) == 1


def test_other_answers_make_it_come_again(world: World) -> None:
    world.receiver.requests.clear()
    world.receiver.answers[:] = [400, 401, 503, 302, 203]
    world.peer().send(TOPIC, "hello")
    eventually(lambda: len(world.receiver.requests) == 6, "it came again")
    bodies = [body for _, _, body in world.receiver.requests]
    assert all(body == bodies[0] for body in bodies)
    eventually(lambda: world.peer().count(PUSHED) == 0, "it is taken")


def test_only_its_consumer_pulls_and_only_with_a_token_for_that(world: World) -> None:
    world.peer().send(TOPIC, "hello")  # publishing is free
    assert refusal(Puller(world.peer(), PULLED).pull) == (401, "UNAUTHENTICATED")
    assert refusal(Puller(PubsubPeer(world.pubsub.endpoint, "made-up"), PULLED).pull) == (401, "UNAUTHENTICATED")
    assert refusal(Puller(world.peer(OTHER), PULLED).pull) == (403, "PERMISSION_DENIED")
    assert refusal(Puller(world.peer(POLLER, STORAGE), PULLED).pull) == (403, "PERMISSION_DENIED")
    (*_, last) = (own := Puller(world.peer(POLLER), PULLED)).pull(100)
    stranger = Puller(world.peer(OTHER), PULLED)
    assert refusal(lambda: stranger.acknowledge(last["ackId"])) == (403, "PERMISSION_DENIED")
    assert refusal(lambda: stranger.modify(0, last["ackId"])) == (403, "PERMISSION_DENIED")
    own.acknowledge(last["ackId"])


EMULATORS = (sys.executable, "-m", "emulators", "pubsub")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--topic", "uploads"),
        ("--subscription", PULLED),
        ("--subscription", f"{PULLED}={TOPIC}"),  # no such topic
        ("--topic", TOPIC, "--subscription", f"{PULLED}={TOPIC},push=ftp://x"),
        ("--topic", TOPIC, "--subscription", f"{PULLED}={TOPIC},pull=x"),
        ("--ack-seconds", "0"),
        ("--faults", '{"nonsense": 1}'),
    ],
)
def test_mistake_is_told_in_a_sentence(arguments: tuple[str, ...]) -> None:
    command = (*EMULATORS, "--listen=127.0.0.1:0", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode in {1, 2}
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in done.stderr


def test_it_says_where_it_is_in_one_line_and_how_it_is_called_in_its_help() -> None:
    with subprocess.Popen((*EMULATORS, "--json", "--listen=127.0.0.1:0"), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert set(json.loads(process.stdout.readline())) == {"endpoint"}
        process.terminate()
        assert process.wait(10) == 0
    told = subprocess.run((*EMULATORS, "--help"), capture_output=True, text=True, timeout=30, check=True).stdout
    assert "Example:" in told
