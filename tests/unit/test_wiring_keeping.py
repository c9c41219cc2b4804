"""How a destination wants its objects kept: what is refused when the broker starts, by dialect."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import msgspec
import pytest

from broker.clock import SystemClock
from broker.domain.errors import ConfigurationInvalid
from broker.settings import S3Destination
from broker.storage.s3.caller import S3Caller
from broker.wiring.credentials import Keyring
from broker.wiring.s3 import s3_bucket
from broker.wiring.s3_keeping import keeping_of
from tests.still_keyring import still_keyring

AWS: dict[str, Any] = {"dialect": "aws", "bucket": "acme-uploads", "region": "eu-central-1"}
KMS = {"mode": "aws:kms", "kms_key_id": "alias/uploads"}


def destination(**differs: Any) -> S3Destination:
    return msgspec.convert({**AWS, **differs}, S3Destination)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def keyring() -> Iterator[Keyring]:
    with still_keyring() as keyring:
        yield keyring


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({}, {}),
        ({"encryption": {"mode": "AES256"}}, {"x-amz-server-side-encryption": "AES256"}),
        (
            {"encryption": {**KMS, "bucket_key": True}},
            {
                "x-amz-server-side-encryption": "aws:kms",
                "x-amz-server-side-encryption-aws-kms-key-id": "alias/uploads",
                "x-amz-server-side-encryption-bucket-key-enabled": "true",
            },
        ),
        ({"storage_class": "STANDARD_IA"}, {"x-amz-storage-class": "STANDARD_IA"}),
        ({"storage_class": "GLACIER", "processing": "none"}, {"x-amz-storage-class": "GLACIER"}),
        ({"tags": {"project": "x"}}, {"x-amz-tagging": "project=x"}),
        ({"acl": "bucket-owner-full-control"}, {"x-amz-acl": "bucket-owner-full-control"}),
        ({"expected_bucket_owner": "111122223333"}, {"x-amz-expected-bucket-owner": "111122223333"}),
        ({"dialect": "ceph", "encryption": KMS}, {}),
        ({"dialect": "r2", "storage_class": "STANDARD_IA"}, {}),
        ({"dialect": "generic", "tags": {"a": "b"}, "storage_class": "STANDARD"}, {}),
    ],
    ids=str,
)
def test_what_a_store_is_known_to_do_may_be_asked(settings: dict[str, Any], headers: dict[str, str]) -> None:
    assert keeping_of("default", destination(**settings)).headers.items() >= headers.items()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dialect": "ceph", "encryption": {"mode": "AES256"}}, "encryption.mode = AES256"),
        ({"dialect": "ceph", "encryption": {"mode": "aws:kms"}}, "without a kms_key_id"),
        ({"dialect": "ceph", "encryption": {**KMS, "bucket_key": False}}, "bucket_key"),
        ({"dialect": "ceph", "tags": {"a": "b"}}, "tags"),
        ({"dialect": "ceph", "expected_bucket_owner": "1" * 12}, "expected_bucket_owner"),
        ({"dialect": "r2", "tags": {"a": "b"}}, "tags"),
        ({"dialect": "r2", "encryption": {"mode": "AES256"}}, "encryption.mode = AES256"),
        ({"dialect": "r2", "acl": "bucket-owner-full-control"}, "acl"),
        ({"dialect": "generic", "encryption": KMS}, "encryption.mode = aws:kms"),
        ({"dialect": "generic", "acl": "bucket-owner-full-control"}, "acl"),
        ({"storage_class": "GLACIER"}, 'processing = "none"'),
        ({"storage_class": "DEEP_ARCHIVE"}, 'processing = "none"'),
        ({"tags": {"aws:x": "1"}}, "default.tags"),
        ({"encryption": {"mode": "AES256", "kms_key_id": "k"}}, "default.encryption"),
        ({"expected_bucket_owner": "me"}, "default.expected_bucket_owner"),
    ],
    ids=str,
)
def test_what_no_promise_can_be_built_on_is_refused_when_the_broker_starts(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        keeping_of("default", destination(**settings))
    assert said in refused.value.detail


@pytest.mark.parametrize(
    "settings",
    [
        {"endpoint": "https://s3.dualstack.eu-central-1.amazonaws.com"},
        {"dialect": "ceph", "accept_unsigned_headers": True, "endpoint": "http://127.0.0.1:7480"},
    ],
    ids=str,
)
async def test_dual_stack_chooses_among_the_hosts_of_aws(
    http: aiohttp.ClientSession, keyring: Keyring, settings: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationInvalid, match="dual_stack"):
        s3_bucket("default", destination(**settings, dual_stack=True), http, SystemClock(), keyring)


async def test_a_destination_asks_by_every_way_in(http: aiohttp.ClientSession, keyring: Keyring) -> None:
    bucket = s3_bucket(
        "default",
        destination(tags={"a": "b"}, expected_bucket_owner="111122223333", dual_stack=True),
        http,
        SystemClock(),
        keyring,
    )

    assert bucket.multipart is not None
    put, uploads, mark = bucket.put, bucket.multipart.uploads, bucket.mark
    wanted = {"x-amz-tagging": "a=b", "x-amz-expected-bucket-owner": "111122223333"}
    for each in (put, uploads, mark):
        assert each.keeping.headers == wanted  # type: ignore[union-attr]  # of our adapters
    caller: S3Caller = bucket.objects.caller  # type: ignore[attr-defined]
    assert caller.headers == {"x-amz-expected-bucket-owner": "111122223333"}
    assert caller.endpoint.host == "acme-uploads.s3.dualstack.eu-central-1.amazonaws.com"
