"""The whole loop on a real Ceph, with no hand in between: curl uploads, Ceph tells, the consumer has processed.

The destination is what an operator of Ceph is told to make: a bucket of one account behind the guard, PUTs signed with
another account's credential, `accept_unsigned_headers`, and a topic that pushes to the broker.
"""

import hashlib
import json
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.contracts.storage.guard import guard_statements
from tests.contracts.storage.stores import Store
from tests.peers.ceph.loop import LoopOptions, running_loop

WAIT_SECONDS = 30.0
FIRST_LOOK = "600s"  # so late that only Ceph's own notification can have been the reason
BODY = b"a,b\n1,2\n" * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    url: str
    api_key: str
    directory: Path

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        more = [] if body is None else ["--json", json.dumps(body)]
        return json.loads(curl(f"{self.url}{path}", "-H", f"Authorization: Bearer {self.api_key}", *more))

    def upload(self, request: dict[str, Any], body: Path) -> int:
        headers = [word for name, value in request["headers"].items() for word in ("-H", f"{name}: {value}")]
        out = str(self.directory / "put.out")
        answer = curl(
            request["url"], "-X", request["method"], "-T", str(body), "-o", out, "-w", "%{http_code}", *headers
        )
        return int(answer)


def curl(*argv: str) -> bytes:
    return subprocess.run(["curl", "-sS", "--max-time", "20", *argv], capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def bucket(store: Store) -> str:
    name = f"loop-{uuid.uuid4().hex[:12]}"
    store.witness.make_bucket(name)
    store.witness.set_policy(name, *guard_statements(name, writer=store.writer_name, reader=store.owner_name))
    return name


@pytest.fixture(scope="module")
def broker(store: Store, bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    directory = tmp_path_factory.mktemp("loop")
    with running_loop(store, LoopOptions(bucket=bucket, directory=directory, first_look=FIRST_LOOK)) as loop:
        subscribe(store, bucket, f"{loop.url}/notifications/ceph?token={loop.event_token}")
        yield Broker(url=loop.url, api_key=loop.api_key, directory=directory)


def subscribe(store: Store, bucket: str, url: str) -> None:
    """A topic that is not persistent: Ceph pushes before it answers the PUT, at once and once."""
    topics = boto3.client(
        "sns",
        endpoint_url=store.url,
        region_name=store.region,
        aws_access_key_id=store.credential.access_key,
        aws_secret_access_key=store.credential.secret_key,
    )
    arn = topics.create_topic(Name=bucket, Attributes={"push-endpoint": url})["TopicArn"]
    topics.close()
    rule = {"Id": "uploads", "TopicArn": arn, "Events": ["s3:ObjectCreated:*"]}
    store.witness.client.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"TopicConfigurations": [rule]}
    )


def settled(broker: Broker, session_id: str) -> Any:
    end = time.monotonic() + WAIT_SECONDS
    while True:
        session = broker.ask(f"/upload-sessions/{session_id}")
        if session["state"] in {"processed", "failed", "rejected"} or time.monotonic() > end:
            return session
        time.sleep(0.05)  # nothing pushes a state to us


def test_what_curl_uploads_to_ceph_is_processed_once_ceph_has_told(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(BODY)
    declared = {"filename": "rows.csv", "size_bytes": len(BODY), "content_type": "text/csv"}
    session = broker.ask("/upload-sessions", declared)
    request = session["upload"]["request"]

    first, second = (broker.upload(request, tmp_path / "rows.csv") for _ in range(2))

    assert (first, second) == (200, 412)
    done = settled(broker, session["id"])
    assert done["state"] == "processed"
    assert done["result"]["size_bytes"] == len(BODY)
    assert done["result"]["sha256"] == hashlib.sha256(BODY).hexdigest()


def test_ceph_refuses_what_was_not_signed_and_the_session_stays_pending(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_bytes(BODY + b"more")
    session = broker.ask("/upload-sessions", {"filename": "rows.csv", "size_bytes": len(BODY)})

    assert broker.upload(session["upload"]["request"], tmp_path / "other.csv") == 403

    assert broker.ask(f"/upload-sessions/{session['id']}")["state"] == "pending"
