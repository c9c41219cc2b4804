"""Who may publish, whose ACLs count, and rules for what is forgotten: as a new bucket of AWS has them, and enforced."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from emulators.process import S3Process, start_s3
from tests.emulators.conftest import Client, client_of
from tests.emulators.wire import exchange

ALL = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
PUBLIC = '{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::%s/*"}]}'
ABORT = {
    "ID": "parts",
    "Status": "Enabled",
    "Filter": {"Prefix": "uploads/"},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 3},
}
Refusal = Callable[..., tuple[int, str]]


@pytest.fixture
def bucket(client: Client, key: str) -> str:
    client.create_bucket(Bucket=f"guarded-{key}")
    return f"guarded-{key}"


def blocks(client: Client, bucket: str, *names: str) -> None:
    client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={name: name in names for name in ALL})


def test_a_new_bucket_blocks_all_that_is_public_and_has_no_acls(client: Client, bucket: str) -> None:
    found = client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert found == dict.fromkeys(ALL, True)
    rules = client.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]


def test_what_is_deleted_is_not_found(client: Client, bucket: str, refusal: Refusal) -> None:
    client.delete_public_access_block(Bucket=bucket)
    client.delete_bucket_ownership_controls(Bucket=bucket)

    assert refusal(client.get_public_access_block, Bucket=bucket) == (404, "NoSuchPublicAccessBlockConfiguration")
    assert refusal(client.get_bucket_ownership_controls, Bucket=bucket) == (404, "OwnershipControlsNotFoundError")


def test_a_public_policy_is_refused_while_it_is_blocked(client: Client, bucket: str, refusal: Refusal) -> None:
    assert refusal(client.put_bucket_policy, Bucket=bucket, Policy=PUBLIC % bucket) == (403, "AccessDenied")
    blocks(client, bucket)
    client.put_bucket_policy(Bucket=bucket, Policy=PUBLIC % bucket)


def test_a_restricted_bucket_lets_nobody_in_by_a_public_policy(
    s3: S3Process, client: Client, stranger: Client, bucket: str, refusal: Refusal
) -> None:
    client.put_object(Bucket=bucket, Key="a", Body=b"x")
    blocks(client, bucket)
    client.put_bucket_policy(Bucket=bucket, Policy=PUBLIC % bucket)
    assert exchange(s3.endpoint, "GET", f"/{bucket}/a").status == 200

    blocks(client, bucket, "RestrictPublicBuckets")

    assert exchange(s3.endpoint, "GET", f"/{bucket}/a").status == 403
    assert refusal(stranger.get_object, Bucket=bucket, Key="a") == (403, "AccessDenied")
    assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"


@pytest.mark.parametrize("ownership", ["ObjectWriter", "BucketOwnerPreferred"])
def test_acls_count_only_where_the_owner_let_them_and_nothing_blocks_them(
    s3: S3Process, client: Client, bucket: str, refusal: Refusal, ownership: str
) -> None:
    put = {"Bucket": bucket, "Key": "a", "Body": b"x", "ACL": "public-read"}
    assert refusal(client.put_object, **put) == (400, "AccessControlListNotSupported")
    client.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": ownership}]})
    assert refusal(client.put_object, **put) == (403, "AccessDenied")

    blocks(client, bucket)
    client.put_object(**put)
    assert exchange(s3.endpoint, "GET", f"/{bucket}/a").status == 200
    blocks(client, bucket, "IgnorePublicAcls")
    assert exchange(s3.endpoint, "GET", f"/{bucket}/a").status == 403


def test_a_lifecycle_is_kept_and_given_back(client: Client, bucket: str, refusal: Refusal) -> None:
    assert refusal(client.get_bucket_lifecycle_configuration, Bucket=bucket) == (404, "NoSuchLifecycleConfiguration")

    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [ABORT]})

    assert client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == [ABORT]
    client.delete_bucket_lifecycle(Bucket=bucket)
    assert refusal(client.get_bucket_lifecycle_configuration, Bucket=bucket) == (404, "NoSuchLifecycleConfiguration")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"Status": "On"}, (400, "MalformedXML")),
        ({"Filter": None}, (400, "MalformedXML")),
        ({"Prefix": "uploads/"}, (400, "MalformedXML")),
        ({"AbortIncompleteMultipartUpload": None}, (400, "InvalidRequest")),
        ({"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 0}}, (400, "InvalidArgument")),
        ({"Filter": {"Tag": {"Key": "a", "Value": "b"}}}, (400, "InvalidRequest")),
        ({"ID": "x" * 256}, (400, "InvalidArgument")),
        ({"Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}, (501, "NotImplemented")),
    ],
)
def test_a_rule_that_s3_would_refuse_is_refused(
    client: Client, bucket: str, refusal: Refusal, change: dict[str, Any], expected: tuple[int, str]
) -> None:
    rule = {name: value for name, value in {**ABORT, **change}.items() if value is not None}
    given = {"Bucket": bucket, "LifecycleConfiguration": {"Rules": [rule]}}

    assert refusal(client.put_bucket_lifecycle_configuration, **given) == expected


def test_two_rules_of_one_name_are_refused(client: Client, bucket: str, refusal: Refusal) -> None:
    given = {"Bucket": bucket, "LifecycleConfiguration": {"Rules": [ABORT, ABORT]}}
    assert refusal(client.put_bucket_lifecycle_configuration, **given) == (400, "InvalidArgument")


def test_only_the_owner_may_look_and_change(stranger: Client, bucket: str, refusal: Refusal) -> None:
    for call in (
        stranger.get_public_access_block,
        stranger.get_bucket_ownership_controls,
        stranger.get_bucket_lifecycle_configuration,
        stranger.delete_public_access_block,
        stranger.delete_bucket_ownership_controls,
        stranger.delete_bucket_lifecycle,
    ):
        assert refusal(call, Bucket=bucket) == (403, "AccessDenied")


@pytest.fixture(scope="module")
def lenient() -> Iterator[S3Process]:
    with start_s3(arguments=["--accept-unsigned-headers"]) as process:
        yield process


def test_a_store_that_behaves_like_ceph_begins_without_safeguards(lenient: S3Process, refusal: Refusal) -> None:
    client = client_of(lenient)
    assert refusal(client.get_public_access_block, Bucket="uploads")[0] == 404
    client.put_object(Bucket="uploads", Key="a", Body=b"x", ACL="public-read")
    assert exchange(lenient.endpoint, "GET", "/uploads/a").status == 200
    client.close()
