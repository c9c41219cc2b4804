"""The whole loop on a real Ceph, with no hand in between: curl uploads, Ceph tells, the consumer has processed.

The destination is what an operator of Ceph is told to make: a bucket of one account behind the guard, PUTs signed with
another account's credential, `accept_unsigned_headers`, and a topic that pushes to the broker.
"""

import hashlib
import uuid
from collections.abc import Iterator

import pytest

from tests.contracts.storage.s3.guard import guard_statements
from tests.contracts.storage.s3.stores import S3Store
from tests.peers.ceph.client import Client
from tests.peers.ceph.loop import LoopOptions, running_loop
from tests.peers.ceph.topics import Topic, subscribe

FIRST_LOOK = "600s"  # so late that only Ceph's own notification can have been the reason
BODY = b"a,b\n1,2\n" * 1000


@pytest.fixture(scope="module")
def bucket(store: S3Store) -> str:
    name = f"loop-{uuid.uuid4().hex[:12]}"
    store.witness.make_bucket(name)
    store.witness.set_policy(name, *guard_statements(name, writer=store.writer_name, reader=store.owner_name))
    return name


@pytest.fixture(scope="module")
def client(store: S3Store, bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A topic that is not persistent: Ceph pushes before it answers the PUT, at once and once."""
    directory = tmp_path_factory.mktemp("loop")
    with running_loop(store, LoopOptions(bucket=bucket, directory=directory, first_look=FIRST_LOOK)) as loop:
        subscribe(store, bucket, Topic(name=bucket, url=f"{loop.url}/notifications/ceph?token={loop.event_token}"))
        yield Client(url=loop.url, api_key=loop.api_key, directory=directory)


def test_what_curl_uploads_to_ceph_is_processed_once_ceph_has_told(client: Client) -> None:
    session = client.mint(BODY)

    first, second = (client.send(session, BODY) for _ in range(2))

    assert (first, second) == (200, 412)
    done = client.settled(session["id"])
    assert done["state"] == "processed"
    assert done["result"]["size_bytes"] == len(BODY)
    assert done["result"]["sha256"] == hashlib.sha256(BODY).hexdigest()


def test_ceph_refuses_what_was_not_signed_and_the_session_stays_pending(client: Client) -> None:
    session = client.mint(BODY)

    assert client.send(session, BODY + b"more") == 403

    assert client.ask(f"/upload-sessions/{session['id']}")["state"] == "pending"
