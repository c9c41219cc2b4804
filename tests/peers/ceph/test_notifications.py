"""Ceph tells the broker by itself: by a queue that doubles and reorders, of removals, and from two accounts.

First looks are so late that nothing but Ceph's own notifications can have been the reason of what is seen here.
"""

import hashlib
import json
import secrets
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.domain.principals import hash_of, new_key_text
from tests.contracts.storage.s3.guard import guard_statements
from tests.contracts.storage.s3.stores import S3Store
from tests.contracts.storage.s3.witness import S3Witness
from tests.peers.ceph.client import Client, curl
from tests.peers.ceph.loop import LoopOptions, running_loop
from tests.peers.ceph.topics import ALL, Topic, subscribe

FIRST_LOOK = "600s"
QUEUE_SECONDS = 60.0  # measured: 0.3 to 30 s until the first push of a new queue
UPLOADS = 12
BODY = b"a,b\n1,2\n" * 1000
WHOLE = ["pending", "verified", "processing", "processed"]
OBSERVER = new_key_text("observer")
TOKEN, THEIR_TOKEN = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
ENV = {"QUEUE_TOKEN": TOKEN, "THEIR_TOKEN": THEIR_TOKEN}

# Beside what every loop has: `default`, told of by the source `ceph`.
OBSERVED = f"""
[keys.observer]
hash = "{hash_of(OBSERVER)}"
roles = ["observe"]
"""
# A bucket that only the queue tells of, and one of the other account, where that one reads and the first one writes.
MORE = """
[destinations.queued]
dialect = "ceph"
bucket = "{queued}"
region = "{region}"
endpoint = "{url}"
accept_unsigned_headers = true
policy = {{first_look = "{first_look}"}}

[destinations.queued.credentials]
default = {{access_key_id = "{owner}", secret_access_key = {{env = "READ_SECRET"}}}}
write = {{access_key_id = "{writer}", secret_access_key = {{env = "WRITE_SECRET"}}}}

[destinations.theirs]
dialect = "ceph"
bucket = "{theirs}"
region = "{region}"
endpoint = "{url}"
accept_unsigned_headers = true
policy = {{first_look = "{first_look}"}}

[destinations.theirs.credentials]
default = {{access_key_id = "{writer}", secret_access_key = {{env = "WRITE_SECRET"}}}}
write = {{access_key_id = "{owner}", secret_access_key = {{env = "READ_SECRET"}}}}

[sources.queue]
kind = "s3_event"
tokens = [{{env = "QUEUE_TOKEN"}}]
destinations = ["default", "queued"]

[sources.theirs]
kind = "s3_event"
tokens = [{{env = "THEIR_TOKEN"}}]
destinations = ["theirs"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    ours: str
    queued: str
    theirs: str


def new_bucket(store: S3Store, *, of_writer: bool = False) -> str:
    """Behind the guard."""
    name = f"told-{uuid.uuid4().hex[:12]}"
    reader, writer = store.owner_name, store.writer_name
    if of_writer:
        reader, writer = writer, reader
    witness = S3Witness.of(store.url, store.region, store.writer if of_writer else store.credential)
    witness.make_bucket(name)
    witness.set_policy(name, *guard_statements(name, writer=writer, reader=reader))
    witness.close()
    return name


@contextmanager
def running(
    store: S3Store, bucket: str, directory: Path, *, more: str = "", has_consumer: bool = True
) -> Iterator[tuple[Client, str]]:
    """A client of a running loop, and the URL of its source `ceph`."""
    options = LoopOptions(
        bucket=bucket,
        directory=directory,
        first_look=FIRST_LOOK,
        more=OBSERVED + more,
        env=ENV,
        has_consumer=has_consumer,
    )
    with running_loop(store, options) as loop:
        client = Client(url=loop.url, api_key=loop.api_key, directory=directory, observer_key=OBSERVER)
        yield client, f"{loop.url}/notifications/ceph?token={loop.event_token}"


def topic(url: str, **more: Any) -> Topic:
    return Topic(name=f"topic-{uuid.uuid4().hex[:12]}", url=url, **more)


@pytest.fixture(scope="module")
def buckets(store: S3Store) -> Buckets:
    return Buckets(ours=new_bucket(store), queued=new_bucket(store), theirs=new_bucket(store, of_writer=True))


@pytest.fixture(scope="module")
def client(store: S3Store, buckets: Buckets, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """`default` tells everything twice, at once and from a queue; `queued` from a queue; `theirs` by its account."""
    more = MORE.format(
        queued=buckets.queued,
        theirs=buckets.theirs,
        region=store.region,
        url=store.url,
        first_look=FIRST_LOOK,
        owner=store.credential.access_key,
        writer=store.writer.access_key,
    )
    with running(store, buckets.ours, tmp_path_factory.mktemp("told"), more=more) as (client, url):
        queue = f"{client.url}/notifications/queue?token={TOKEN}"
        subscribe(store, buckets.ours, topic(url, events=ALL), topic(queue, events=ALL, is_persistent=True))
        subscribe(store, buckets.queued, topic(queue, is_persistent=True))
        theirs = topic(f"{client.url}/notifications/theirs?token={THEIR_TOKEN}")
        subscribe(store, buckets.theirs, theirs, owner=store.writer)
        yield client


def states(session: Any) -> list[str]:
    return [step["state"] for step in session["timeline"] if "note" not in step]


def notes(session: Any) -> list[str]:
    return [step["note"] for step in session["timeline"] if "note" in step]


def uploaded(client: Client, **declared: Any) -> str:
    session = client.mint(BODY, **declared)
    assert client.send(session, BODY) == 200
    found: str = session["id"]
    return found


def until_told(client: Client, count: int) -> None:
    """By the queue."""
    end = time.monotonic() + QUEUE_SECONDS
    while client.accepted("queue") < count:
        assert time.monotonic() < end, f"{client.accepted('queue')} of {count} came from the queue"
        time.sleep(0.1)


def test_what_is_told_twice_and_in_any_order_is_processed_once(client: Client) -> None:
    queued = client.accepted("queue")
    with ThreadPoolExecutor(4) as pool:
        ids = [*pool.map(lambda _: uploaded(client), range(UPLOADS))]

    done = [client.settled(each) for each in ids]

    assert [states(session) for session in done] == [WHOLE] * UPLOADS
    assert {session["result"]["sha256"] for session in done} == {hashlib.sha256(BODY).hexdigest()}
    until_told(client, queued + UPLOADS)
    assert [client.ask(f"/upload-sessions/{each}") for each in ids] == done


def test_a_queue_alone_is_enough(client: Client) -> None:
    session_id, end = uploaded(client, destination="queued"), time.monotonic() + QUEUE_SECONDS

    while (session := client.settled(session_id))["state"] == "pending":
        assert time.monotonic() < end

    assert states(session) == WHOLE


def test_two_accounts_tell_of_their_own_bucket_and_of_no_other(client: Client, buckets: Buckets) -> None:
    sessions = {name: client.settled(uploaded(client, destination=name)) for name in ("default", "theirs")}

    assert {name: (session["object"]["bucket"], states(session)) for name, session in sessions.items()} == {
        "default": (buckets.ours, WHOLE),
        "theirs": (buckets.theirs, WHOLE),
    }
    ours = client.mint(BODY, destination="default")["object"]
    record = {"eventSource": "ceph:s3", "eventName": "ObjectCreated:Put"}
    record |= {"s3": {"bucket": {"name": ours["bucket"]}, "object": {"key": ours["key"]}}}
    forged, url = json.dumps({"Records": [record]}), f"{client.url}/notifications/theirs?token="
    assert json.loads(curl(url + THEIR_TOKEN, "--json", forged)) == {"accepted": 0, "ignored": 1, "malformed": 0}
    assert json.loads(curl(url + TOKEN, "--json", forged))["status"] == 401


def test_what_was_processed_and_goes_gets_one_line_however_often_ceph_tells(store: S3Store, client: Client) -> None:
    queued = client.accepted("queue")
    before = client.settled(uploaded(client))
    store.witness.client.delete_object(Bucket=before["object"]["bucket"], Key=before["object"]["key"])
    until_told(client, queued + 2)

    end = time.monotonic() + QUEUE_SECONDS
    while not notes(after := client.ask(f"/upload-sessions/{before['id']}")) and time.monotonic() < end:
        time.sleep(0.05)  # nothing pushes a look to us

    assert notes(after) == ["the object is gone from the store"]
    assert (after["state"], states(after), after["result"]) == ("processed", WHOLE, before["result"])


def test_a_job_whose_object_goes_before_anybody_takes_it_fails(store: S3Store, tmp_path: Path) -> None:
    bucket = new_bucket(store)
    with running(store, bucket, tmp_path, has_consumer=False) as (client, url):
        subscribe(store, bucket, topic(url, events=ALL))
        session = client.settled(uploaded(client), ("verified",))
        assert session["state"] == "verified"

        store.witness.client.delete_object(Bucket=bucket, Key=session["object"]["key"])

        failed = client.settled(session["id"])
        assert (failed["state"], failed["reason"]["code"]) == ("failed", "object-missing")
        assert states(failed) == ["pending", "verified", "failed"]
