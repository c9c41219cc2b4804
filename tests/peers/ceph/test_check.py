"""`check` on a real Ceph: set up as the guide says all passes that its dialect promises, without the guard it fails."""

import uuid
from typing import Any

import msgspec
import pytest

from broker.checks.findings import Outcome
from broker.storage.s3.dialects import DIALECTS
from broker.storage.s3.policies import Right, policies_of
from tests.checks.world import LIFECYCLE, ORIGIN, Place
from tests.contracts.storage.stores import Store


def printed(bucket: str, right: Right, who: str) -> list[dict[str, Any]]:
    policies = policies_of(bucket=bucket, prefix="uploads", dialect=DIALECTS["ceph"], origins=())
    principal = {"Principal": {"AWS": [f"arn:aws:iam:::user/{who}"]}}
    return [msgspec.to_builtins(statement) | principal for statement in getattr(policies, right).statement]


@pytest.fixture
def bucket(store: Store) -> str:
    name = f"check-{uuid.uuid4().hex[:12]}"
    client = store.witness.client
    store.witness.make_bucket(name)
    (rule,) = msgspec.to_builtins(
        policies_of(bucket=name, prefix="uploads", dialect=DIALECTS["ceph"], origins=(ORIGIN,)).cors
    )
    client.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": [rule]})
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration=LIFECYCLE)
    return name


def guard(store: Store, bucket: str) -> None:
    owner = [*printed(bucket, "read", store.owner_name), *printed(bucket, "remove", store.owner_name)]
    store.witness.set_policy(bucket, *printed(bucket, "write", store.writer_name), *owner)
    store.witness.set_public_access(bucket, {"IgnorePublicAcls": True})


def place(store: Store, bucket: str, **given: Any) -> Place:
    return Place(
        endpoint=store.url,
        region=store.region,
        bucket=bucket,
        keys=(store.credential.access_key, store.credential.secret_key),
        rights={"write": (store.writer.access_key, store.writer.secret_key)},
        **given,
    )


async def test_behind_the_guard_everything_passes_that_the_dialect_promises(store: Store, bucket: str) -> None:
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
    assert await store.witness.parts(bucket, "") == set()


async def test_called_aws_it_fails_at_what_it_ignores(store: Store, bucket: str) -> None:
    guard(store, bucket)

    checked = await place(store, bucket, dialect="aws").check()

    assert {"checksum-sha256", "checksum-crc32c", "checksum-crc64nvme", "unsigned-tagging"} <= checked.failed
    assert {"multipart-create-only", "remove", "unsigned-acl"} <= checked.failed
    assert "removed another state" in checked.step("remove").said
    assert await store.witness.keys(bucket) == set()


async def test_without_the_guard_it_fails_where_the_writer_reads(store: Store, bucket: str) -> None:
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


async def test_what_it_takes_and_does_not_do_is_told(store: Store, bucket: str) -> None:
    guard(store, bucket)
    tagging = {"Effect": "Allow", "Action": ["s3:PutObjectTagging"], "Resource": [f"arn:aws:s3:::{bucket}/uploads/*"]}
    principal = {"Principal": {"AWS": [f"arn:aws:iam:::user/{store.writer_name}"]}}
    owner = [*printed(bucket, "read", store.owner_name), *printed(bucket, "remove", store.owner_name)]
    store.witness.set_policy(bucket, *printed(bucket, "write", store.writer_name), *owner, tagging | principal)

    more = {"encryption": {"mode": "AES256"}, "tags": {"a": "b"}}
    checked = await place(store, bucket, dialect="aws", more=more).check()

    assert {"kept", "multipart-kept"} <= checked.failed
    assert checked.step("kept").said == "x-amz-server-side-encryption: AES256 was asked for, HEAD shows nothing"
    assert "1 tags were asked for, HEAD shows 0" in checked.step("multipart-kept").said
