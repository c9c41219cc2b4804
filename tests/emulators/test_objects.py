"""Objects and buckets as boto3 sees them."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from emulators.process import S3Process
from tests.emulators.conftest import Client
from tests.emulators.signing import Signer
from tests.emulators.wire import Answer, exchange

Refusal = Callable[..., tuple[int, str]]
BODY = bytes(range(256)) * 4


def stored(client: Client, key: str, body: bytes = BODY, **arguments: Any) -> str:
    """Put an object; its ETag."""
    etag: str = client.put_object(Bucket="uploads", Key=key, Body=body, **arguments)["ETag"]
    return etag


def read(client: Client, key: str, bucket: str = "uploads", **arguments: Any) -> bytes:
    with client.get_object(Bucket=bucket, Key=key, **arguments)["Body"] as body:
        data: bytes = body.read()
    return data


@pytest.fixture
def bucket(client: Client, key: str) -> Iterator[str]:
    """A bucket of the test's own, removed with everything in it."""
    name = f"bucket-{key}"
    client.create_bucket(Bucket=name)
    yield name
    for page in client.get_paginator("list_object_versions").paginate(Bucket=name):
        for each in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            client.delete_object(Bucket=name, Key=each["Key"], VersionId=each["VersionId"])
    client.delete_bucket(Bucket=name)


def test_object_comes_back_as_it_was_put(client: Client, key: str) -> None:
    attributes = {
        "ContentType": "text/csv",
        "ContentEncoding": "gzip",
        "ContentDisposition": "attachment",
        "CacheControl": "no-store",
        "ContentLanguage": "de",
        "Metadata": {"case": "17"},
    }
    etag = stored(client, key, **attributes)
    head = client.head_object(Bucket="uploads", Key=key)
    assert {name: head[name] for name in attributes} == attributes
    assert (head["ETag"], head["ContentLength"]) == (etag, len(BODY))
    assert read(client, key) == BODY


@pytest.mark.parametrize("name", ["a b+c", "//x/./../y/", "ü€😀", "%2F%25", "a&b=c?d#e", " blank ", "x" * 1024])
def test_any_key_is_stored_listed_and_deleted(client: Client, bucket: str, name: str) -> None:
    client.put_object(Bucket=bucket, Key=name, Body=BODY)
    assert read(client, name, bucket) == BODY
    assert [each["Key"] for each in client.list_objects_v2(Bucket=bucket)["Contents"]] == [name]
    deleted = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": name}]})["Deleted"]
    assert [each["Key"] for each in deleted] == [name]
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_empty_object_is_an_object(client: Client, key: str) -> None:
    stored(client, key, b"")
    assert read(client, key) == b""


@pytest.mark.parametrize(
    ("spelt", "expected"),
    [
        ("bytes=0-0", BODY[:1]),
        ("bytes=10-19", BODY[10:20]),
        ("bytes=1000-", BODY[1000:]),
        ("bytes=1000-99999", BODY[1000:]),
        ("bytes=-5", BODY[-5:]),
        ("bytes=-99999", BODY),
    ],
)
def test_range_is_answered_with_206(client: Client, key: str, spelt: str, expected: bytes) -> None:
    stored(client, key)
    answer = client.get_object(Bucket="uploads", Key=key, Range=spelt)
    with answer["Body"] as body:
        assert body.read() == expected
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert answer["ContentRange"].endswith(f"/{len(BODY)}")


@pytest.mark.parametrize("spelt", ["bytes=1024-", "bytes=-0", "bytes=5000-6000"])
def test_range_outside_is_refused(client: Client, key: str, refusal: Refusal, spelt: str) -> None:
    stored(client, key)
    assert refusal(client.get_object, Bucket="uploads", Key=key, Range=spelt) == (416, "InvalidRange")


@pytest.mark.parametrize("spelt", ["bytes=5-1", "bytes=a-b", "items=0-1", "bytes=0-1,5-6", "bytes=-"])
def test_range_that_means_nothing_is_ignored(client: Client, key: str, spelt: str) -> None:
    stored(client, key)
    assert read(client, key, Range=spelt) == BODY


def test_read_conditions(client: Client, key: str, refusal: Refusal) -> None:
    etag = stored(client, key)
    where = {"Bucket": "uploads", "Key": key}
    assert read(client, key, IfMatch=etag) == BODY
    assert read(client, key, IfNoneMatch='"other"') == BODY
    assert refusal(client.get_object, **where, IfMatch='"other"') == (412, "PreconditionFailed")
    assert refusal(client.get_object, **where, IfNoneMatch=etag)[0] == 304
    assert refusal(client.head_object, **where, IfMatch='"other"')[0] == 412


def test_response_headers_are_overridden_by_signers_only(
    s3: S3Process, client: Client, signer: Signer, key: str
) -> None:
    stored(client, key)
    params = {"response-content-disposition": 'attachment; filename="a.csv"', "response-content-type": "text/plain"}
    answer = exchange(s3.endpoint, "GET", signer.presign("GET", f"/uploads/{key}", params=params))
    assert answer.headers["content-disposition"] == 'attachment; filename="a.csv"'
    assert answer.headers["content-type"] == "text/plain"
    added = signer.presign("GET", f"/uploads/{key}") + "&response-content-type=text%2Fhtml"
    assert exchange(s3.endpoint, "GET", added).code == "SignatureDoesNotMatch"


def test_write_conditions(client: Client, key: str, refusal: Refusal) -> None:
    where = {"Bucket": "uploads", "Key": key, "Body": b"new"}
    assert refusal(client.put_object, **where, IfMatch='"none"') == (404, "NoSuchKey")
    etag = stored(client, key)
    assert refusal(client.put_object, **where, IfMatch='"other"') == (412, "PreconditionFailed")
    assert refusal(client.put_object, **where, IfNoneMatch="*") == (412, "PreconditionFailed")
    assert refusal(client.put_object, **where, IfNoneMatch=etag) == (501, "NotImplemented")
    assert read(client, key) == BODY
    client.put_object(**where, IfMatch=etag)
    assert read(client, key) == b"new"


def test_one_of_sixteen_concurrent_creators_wins(s3: S3Process, client: Client, signer: Signer, key: str) -> None:
    bodies = [bytes([number]) * 300_000 for number in range(16)]
    target = signer.presign("PUT", f"/uploads/{key}", headers={"if-none-match": "*"})

    def create(body: bytes) -> Answer:
        return exchange(s3.endpoint, "PUT", target, {"if-none-match": "*"}, body)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(create, bodies))
    assert sorted(answer.status for answer in answers) == [200] + [412] * 15
    winner = next(body for body, answer in zip(bodies, answers, strict=True) if answer.status == 200)
    assert read(client, key) == winner


def test_delete_is_idempotent_and_conditional(client: Client, key: str, refusal: Refusal) -> None:
    where = {"Bucket": "uploads", "Key": key}
    client.delete_object(**where)
    etag = stored(client, key)
    assert refusal(client.delete_object, **where, IfMatch='"other"') == (412, "PreconditionFailed")
    client.delete_object(**where, IfMatch=etag)
    assert refusal(client.get_object, **where) == (404, "NoSuchKey")


def test_copy_keeps_or_replaces_metadata(client: Client, key: str, refusal: Refusal) -> None:
    stored(client, key, Metadata={"a": "1"}, ContentType="text/csv")
    source = {"Bucket": "uploads", "Key": key}
    client.copy_object(Bucket="private", Key=f"{key} kept", CopySource=source)
    head = client.head_object(Bucket="private", Key=f"{key} kept")
    assert (head["Metadata"], head["ContentType"]) == ({"a": "1"}, "text/csv")
    client.copy_object(Bucket="uploads", Key=key, CopySource=source, Metadata={"b": "2"}, MetadataDirective="REPLACE")
    assert client.head_object(Bucket="uploads", Key=key)["Metadata"] == {"b": "2"}
    assert refusal(client.copy_object, Bucket="uploads", Key=key, CopySource=source) == (400, "InvalidRequest")
    client.delete_object(Bucket="uploads", Key=key)
    assert read(client, f"{key} kept", "private") == BODY


def test_other_account_is_kept_out(client: Client, stranger: Client, key: str, refusal: Refusal) -> None:
    stored(client, key)
    denied = (403, "AccessDenied")
    assert refusal(stranger.get_object, Bucket="uploads", Key=key) == denied
    assert refusal(stranger.put_object, Bucket="uploads", Key=key, Body=b"x") == denied
    assert refusal(stranger.delete_object, Bucket="uploads", Key=key) == denied
    assert refusal(stranger.list_objects_v2, Bucket="uploads") == denied
    source = {"Bucket": "uploads", "Key": key}
    assert refusal(stranger.copy_object, Bucket="theirs", Key=key, CopySource=source) == denied
    assert [each["Name"] for each in stranger.list_buckets()["Buckets"]] == ["theirs"]


def test_policy_lets_a_writer_write_and_not_read(
    client: Client, stranger: Client, bucket: str, refusal: Refusal
) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": ["arn:aws:iam:::user/stranger"]},
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/uploads/*",
    }
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    stranger.put_object(Bucket=bucket, Key="uploads/1", Body=BODY)
    assert read(client, "uploads/1", bucket) == BODY
    denied = (403, "AccessDenied")
    assert refusal(stranger.put_object, Bucket=bucket, Key="other/1", Body=BODY) == denied
    assert refusal(stranger.get_object, Bucket=bucket, Key="uploads/1") == denied
    assert refusal(stranger.get_object, Bucket=bucket, Key="uploads/missing") == denied
    source = {"Bucket": bucket, "Key": "uploads/1"}
    assert refusal(stranger.copy_object, Bucket=bucket, Key="uploads/2", CopySource=source) == denied
    deny = {**statement, "Effect": "Deny", "Principal": "*"}
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Statement": [statement, deny]}))
    assert refusal(stranger.put_object, Bucket=bucket, Key="uploads/3", Body=BODY) == denied
    conditional = {**statement, "Condition": {}}
    assert refusal(client.put_bucket_policy, Bucket=bucket, Policy=json.dumps({"Statement": [conditional]}))[0] == 400
    client.delete_bucket_policy(Bucket=bucket)
    assert refusal(client.get_bucket_policy, Bucket=bucket) == (404, "NoSuchBucketPolicy")


def test_versions_are_kept_read_and_deleted(client: Client, bucket: str, refusal: Refusal) -> None:
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert client.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    where = {"Bucket": bucket, "Key": "k"}
    first = client.put_object(**where, Body=b"1")["VersionId"]
    second = client.put_object(**where, Body=b"2")["VersionId"]
    assert read(client, "k", bucket, VersionId=first) == b"1"
    assert read(client, "k", bucket) == b"2"
    marker = client.delete_object(**where)
    assert marker["DeleteMarker"] is True
    assert refusal(client.get_object, **where) == (404, "NoSuchKey")
    assert refusal(client.get_object, **where, VersionId=marker["VersionId"])[0] == 405
    assert refusal(client.get_object, **where, VersionId="no") == (404, "NoSuchVersion")
    client.put_object(**where, Body=b"3", IfNoneMatch="*")
    listed = client.list_object_versions(Bucket=bucket, MaxKeys=3)
    assert (len(listed["Versions"]), len(listed["DeleteMarkers"]), listed["IsTruncated"]) == (2, 1, True)
    client.delete_object(**where, VersionId=second)
    pages = client.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 1})
    assert [each["VersionId"] for page in pages for each in page.get("Versions", ())][1:] == [first]
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    client.put_object(**where, Body=b"4")
    client.put_object(**where, Body=b"5")
    assert [each["VersionId"] for each in client.list_object_versions(Bucket=bucket)["Versions"]].count("null") == 1


def test_listing_pages_and_rolls_up(client: Client, bucket: str) -> None:
    keys = sorted([f"a/{number:02}/x" for number in range(25)] + ["a", "b/1", "b/2", "c", "é"], key=str.encode)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=b""), keys))
    for operation in ("list_objects_v2", "list_objects"):
        pages = client.get_paginator(operation)
        flat = pages.paginate(Bucket=bucket, PaginationConfig={"PageSize": 7})
        assert [each["Key"] for page in flat for each in page["Contents"]] == keys
        rolled = list(pages.paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 2}))
        assert [each["Key"] for page in rolled for each in page.get("Contents", ())] == ["a", "c", "é"]
        assert [p["Prefix"] for page in rolled for p in page.get("CommonPrefixes", ())] == ["a/", "b/"]
        under = list(pages.paginate(Bucket=bucket, Prefix="a/", Delimiter="/", PaginationConfig={"PageSize": 4}))
        assert sum(len(page["CommonPrefixes"]) for page in under) == 25
    after = client.list_objects_v2(Bucket=bucket, StartAfter="b/1", MaxKeys=1)
    assert ([each["Key"] for each in after["Contents"]], after["IsTruncated"]) == (["b/2"], True)


def test_buckets_have_names_owners_and_contents(
    client: Client, stranger: Client, bucket: str, refusal: Refusal
) -> None:
    assert refusal(client.create_bucket, Bucket=bucket) == (409, "BucketAlreadyOwnedByYou")
    assert refusal(stranger.create_bucket, Bucket=bucket) == (409, "BucketAlreadyExists")
    assert refusal(stranger.head_bucket, Bucket=bucket)[0] == 403
    assert refusal(client.head_bucket, Bucket="missing")[0] == 404
    assert refusal(client.create_bucket, Bucket="192.168.0.1")[1] == "InvalidBucketName"
    assert client.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    client.put_object(Bucket=bucket, Key="k", Body=b"")
    assert refusal(client.delete_bucket, Bucket=bucket) == (409, "BucketNotEmpty")


def test_bulk_delete_answers_for_each_key(client: Client, stranger: Client, key: str) -> None:
    stored(client, key)
    wanted = {"Objects": [{"Key": key}, {"Key": "missing"}]}
    errors = stranger.delete_objects(Bucket="uploads", Delete=wanted)["Errors"]
    assert [each["Code"] for each in errors] == ["AccessDenied"] * 2
    assert len(client.delete_objects(Bucket="uploads", Delete=wanted)["Deleted"]) == 2


def test_tags_are_stored_and_counted(client: Client, key: str, refusal: Refusal) -> None:
    stored(client, key, Tagging="a=1&b=x%20y")
    where = {"Bucket": "uploads", "Key": key}
    assert client.get_object_tagging(**where)["TagSet"] == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "x y"}]
    client.put_object_tagging(**where, Tagging={"TagSet": [{"Key": "c", "Value": "3"}]})
    assert client.head_object(**where)["TagCount"] == 1
    client.delete_object_tagging(**where)
    assert client.get_object_tagging(**where)["TagSet"] == []
    assert refusal(client.put_object, **where, Tagging="&".join(f"{n}=1" for n in range(11)))[0] == 400


def test_what_is_not_emulated_is_refused(client: Client, key: str, refusal: Refusal) -> None:
    where = {"Bucket": "uploads", "Key": key}
    stored(client, key)
    assert refusal(client.put_object_acl, **where, ACL="public-read") == (501, "NotImplemented")
    assert refusal(client.put_object, **where, ACL="public-read") == (400, "AccessControlListNotSupported")
    assert refusal(client.put_object, **where, SSECustomerAlgorithm="AES256", SSECustomerKey="k" * 32) == (
        501,
        "NotImplemented",
    )
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": "2099-01-01"}
    assert refusal(client.put_object, **where, **lock) == (501, "NotImplemented")
    assert refusal(client.get_bucket_website, Bucket="uploads") == (501, "NotImplemented")
    assert read(client, key) == BODY
