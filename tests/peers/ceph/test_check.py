"""`check` on a real Ceph: set up as `setup` prints it, it passes; as another dialect or without the guard it fails."""

import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest

from broker.checks.bench import Bench
from broker.checks.findings import Outcome
from broker.operate_setup import print_setup
from broker.settings import load
from broker.wiring import CheckOptions, Listening, open_benches
from tests.checks.world import Place, run
from tests.contracts.storage.s3.stores import S3Store
from tests.peers.ceph.loop import LoopOptions, running_loop


def told(store: S3Store, bucket: str) -> Any:
    """What `setup s3 --print` says for this destination."""
    users = {"WRITE": store.writer_name, "READ": store.owner_name, "REMOVE": store.owner_name}
    given = {f"{right}_PRINCIPAL_ARN": f"arn:aws:iam:::user/{name}" for right, name in users.items()}
    settings = place(store, bucket, dialect="ceph", more={"accept_unsigned_headers": True}).settings()
    return msgspec.json.decode(print_setup(settings, "default", form="json", given=given))["default"]


@pytest.fixture
def bucket(store: S3Store) -> str:
    """Without its policy: `guard` is that."""
    name = f"check-{uuid.uuid4().hex[:12]}"
    client, documents = store.witness.client, told(store, name)
    store.witness.make_bucket(name)
    client.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": documents["cors"]})
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration=documents["lifecycle"])
    return name


def guard(store: S3Store, bucket: str) -> None:
    documents = told(store, bucket)
    store.witness.set_policy(bucket, *documents["bucket_policy"]["Statement"])
    store.witness.set_public_access(bucket, documents["public_access_block"])


def place(store: S3Store, bucket: str, **given: Any) -> Place:
    return Place(
        endpoint=store.url,
        region=store.region,
        bucket=bucket,
        keys=(store.credential.access_key, store.credential.secret_key),
        rights={"write": (store.writer.access_key, store.writer.secret_key)},
        **given,
    )


async def test_behind_the_guard_everything_passes_that_the_dialect_promises(store: S3Store, bucket: str) -> None:
    guard(store, bucket)

    checked = await place(store, bucket, dialect="ceph", more={"accept_unsigned_headers": True}).check()

    assert checked.failed == set(), checked.report
    assert checked.of(Outcome.SKIPPED) == {
        "get-consumer",
        "kept",
        "multipart-kept",
        "checksum-sha256",
        "checksum-crc64nvme",
        "checksum-crc32c",
        "multipart-create-only",
        "ownership",
        "event",
    }
    assert await store.witness.keys(bucket) == set()
    assert await store.witness.unfinished(bucket, "") == set()


async def test_the_event_of_a_topic_as_it_is_printed_is_heard(
    store: S3Store, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard(store, bucket)
    with running_loop(store, LoopOptions(bucket=bucket, directory=tmp_path, first_look="600s")) as loop:
        for name, text in loop.env.items():
            monkeypatch.setenv(name, text)
        settings = load(tmp_path / "broker.toml", {})
        given = {"BROKER_URL": loop.url, "EVENT_TOKEN": loop.event_token}
        documents = msgspec.json.decode(print_setup(settings, "default", form="json", given=given))["default"]
        make_topic(store, documents["topics"][0])
        store.witness.client.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration=documents["notification"]
        )

        listening = Listening(timeout=timedelta(seconds=60), broker_url=loop.url)
        async with open_benches(settings, (), CheckOptions(listening=listening)) as benches:
            (bench,) = benches
            assert isinstance(bench, Bench), bench
            checked = await run(bench)

    assert checked.step("event").outcome is Outcome.PASSED, checked.step("event")
    assert checked.step("event").said.endswith("by ceph")


def make_topic(store: S3Store, topic: Any) -> None:
    client = boto3.client(
        "sns",
        endpoint_url=store.url,
        region_name=store.region,
        aws_access_key_id=store.credential.access_key,
        aws_secret_access_key=store.credential.secret_key,
    )
    assert client.create_topic(Name=topic["name"], Attributes=topic["attributes"])["TopicArn"] == topic["arn"]
    client.close()


async def test_called_aws_it_fails_at_what_it_ignores(store: S3Store, bucket: str) -> None:
    guard(store, bucket)

    checked = await place(store, bucket, dialect="aws").check()

    assert {"checksum-sha256", "checksum-crc32c", "checksum-crc64nvme", "unsigned-tagging"} <= checked.failed
    assert {"multipart-create-only", "remove", "unsigned-acl"} <= checked.failed
    assert "removed another state" in checked.step("remove").said
    assert await store.witness.keys(bucket) == set()


async def test_without_the_guard_it_fails_where_the_writer_reads(store: S3Store, bucket: str) -> None:
    everything = {
        "Effect": "Allow",
        "Principal": {"AWS": [f"arn:aws:iam:::user/{store.writer_name}"]},
        "Action": ["s3:*"],
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }
    owner = everything | {"Principal": {"AWS": [f"arn:aws:iam:::user/{store.owner_name}"]}}
    store.witness.set_policy(bucket, everything, owner)

    checked = await place(store, bucket, dialect="ceph", more={"accept_unsigned_headers": True}).check()

    assert {"unsigned-copy", "unsigned-acl", "write-cannot-read", "public-access"} <= checked.failed
    assert "deny s3:GetObject" in str(checked.step("unsigned-copy").fix)


async def test_what_it_takes_and_does_not_do_is_told(store: S3Store, bucket: str) -> None:
    tagging = {"Effect": "Allow", "Action": ["s3:PutObjectTagging"], "Resource": [f"arn:aws:s3:::{bucket}/uploads/*"]}
    principal = {"Principal": {"AWS": [f"arn:aws:iam:::user/{store.writer_name}"]}}
    store.witness.set_policy(bucket, *told(store, bucket)["bucket_policy"]["Statement"], tagging | principal)

    more = {"encryption": {"mode": "AES256"}, "tags": {"a": "b"}}
    checked = await place(store, bucket, dialect="aws", more=more).check()

    assert {"kept", "multipart-kept"} <= checked.failed
    assert checked.step("kept").said == "x-amz-server-side-encryption: AES256 was asked for, HEAD shows nothing"
    assert "1 tags were asked for, HEAD shows 0" in checked.step("multipart-kept").said
