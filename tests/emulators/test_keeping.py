"""Encryption, storage class, tags, ACL and the expected owner, as boto3 sees them."""

from collections.abc import Callable
from typing import Any

import pytest

from emulators.process import S3Process
from tests.emulators.conftest import Client, client_of

Refusal = Callable[..., tuple[int, str]]
ARN = "arn:aws:kms:us-east-1:111122223333:key/1234"
BODY = b"123456789"
MD5 = '"25f9e794323b453885f5181f1b624d0b"'


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({"ServerSideEncryption": "AES256"}, {"ServerSideEncryption": "AES256"}),
        (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": ARN, "BucketKeyEnabled": True},
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": ARN, "BucketKeyEnabled": True},
        ),
        (
            {"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": "1234"},
            {"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": "arn:aws:kms:us-east-1:000000000000:key/1234"},
        ),
        ({"StorageClass": "STANDARD_IA"}, {"StorageClass": "STANDARD_IA"}),
    ],
)
def test_what_was_asked_is_answered_by_put_head_and_get(
    client: Client, key: str, asked: dict[str, Any], shown: dict[str, Any]
) -> None:
    put = client.put_object(Bucket="uploads", Key=key, Body=BODY, **asked)
    head = client.head_object(Bucket="uploads", Key=key)
    got = client.get_object(Bucket="uploads", Key=key)

    got["Body"].close()
    assert [{name: each.get(name) for name in shown} for each in (head, got)] == [shown, shown]
    assert {name: put.get(name) for name in shown if name != "StorageClass"} == {
        name: value for name, value in shown.items() if name != "StorageClass"
    }
    is_kms = "kms" in asked.get("ServerSideEncryption", "")
    assert (head["ETag"] == MD5) == (not is_kms)


def test_a_key_is_answered_by_its_arn_whatever_named_it(client: Client, key: str) -> None:
    named = []
    for name in ({"SSEKMSKeyId": "alias/a"}, {"SSEKMSKeyId": "arn:aws:kms:us-east-1:1:alias/a"}, {}):
        put = client.put_object(Bucket="uploads", Key=key, Body=BODY, ServerSideEncryption="aws:kms", **name)
        named.append(put["SSEKMSKeyId"])
    assert named[0] == named[1] != named[2]
    assert all(each.startswith("arn:aws:kms:") and ":key/" in each for each in named)


def test_standard_is_what_nobody_mentions(client: Client, key: str) -> None:
    client.put_object(Bucket="uploads", Key=key, Body=BODY, StorageClass="STANDARD")

    head = client.head_object(Bucket="uploads", Key=key)
    assert "StorageClass" not in head
    assert "BucketKeyEnabled" not in head


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"ServerSideEncryption": "AES128"}, "InvalidEncryptionAlgorithmError"),
        ({"SSEKMSKeyId": ARN}, "InvalidArgument"),
        ({"ServerSideEncryption": "AES256", "SSEKMSKeyId": ARN}, "InvalidArgument"),
        ({"ServerSideEncryption": "AES256", "BucketKeyEnabled": True}, "InvalidArgument"),
        ({"ServerSideEncryption": "aws:kms:dsse", "BucketKeyEnabled": True}, "InvalidArgument"),
        ({"StorageClass": "COLD"}, "InvalidStorageClass"),
        ({"Tagging": "aws:x=1"}, "InvalidTag"),
        ({"Tagging": "a!=1"}, "InvalidTag"),
        ({"Tagging": "a=1&a=2"}, "InvalidTag"),
        ({"Tagging": f"{'k' * 129}=1"}, "InvalidTag"),
        ({"Tagging": f"k={'v' * 257}"}, "InvalidTag"),
    ],
    ids=str,
)
def test_what_s3_refuses_is_refused_by_put_and_by_create(
    client: Client, key: str, refusal: Refusal, asked: dict[str, Any], code: str
) -> None:
    assert refusal(client.put_object, Bucket="uploads", Key=key, Body=BODY, **asked) == (400, code)
    assert refusal(client.create_multipart_upload, Bucket="uploads", Key=key, **asked) == (400, code)


def test_an_object_in_parts_is_kept_as_its_upload_was_begun(client: Client, key: str) -> None:
    where = {"Bucket": "uploads", "Key": key}
    upload = client.create_multipart_upload(
        **where,
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId=ARN,
        StorageClass="STANDARD_IA",
        Tagging="a=b",
        ACL="bucket-owner-full-control",
    )["UploadId"]
    sent = [
        client.upload_part(**where, UploadId=upload, PartNumber=number, Body=body)
        for number, body in ((1, b"x" * (5 * 2**20)), (2, BODY))
    ]
    etags = [part["ETag"] for part in sent]
    assert (etags[1] != MD5, sent[1]["ServerSideEncryption"], sent[1]["SSEKMSKeyId"]) == (True, "aws:kms", ARN)
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    done = client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})

    head = client.head_object(**where)
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"], head["StorageClass"]) == ("aws:kms", ARN, "STANDARD_IA")
    assert (done["SSEKMSKeyId"], done["ETag"]) == (ARN, head["ETag"])
    assert client.get_object_tagging(**where)["TagSet"] == [{"Key": "a", "Value": "b"}]


@pytest.mark.parametrize("header", ["", "-aws-kms-key-id", "-bucket-key-enabled"])
def test_parts_and_reads_take_no_encryption(s3: S3Process, key: str, refusal: Refusal, header: str) -> None:
    client = client_of(s3)
    where = {"Bucket": "uploads", "Key": key}
    client.put_object(**where, Body=BODY)
    upload = client.create_multipart_upload(**where, ServerSideEncryption="AES256")["UploadId"]
    name = f"x-amz-server-side-encryption{header}"
    client.meta.events.register("before-call.s3", lambda params, **_: params["headers"].update({name: "AES256"}))

    part = {**where, "UploadId": upload, "PartNumber": 1, "Body": BODY}
    assert refusal(client.upload_part, **part) == (400, "InvalidArgument")
    assert refusal(client.get_object, **where) == (400, "InvalidArgument")
    assert refusal(client.head_object, **where)[0] == 400
    client.close()


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_what_is_archived_is_seen_and_not_read(client: Client, key: str, refusal: Refusal, storage_class: str) -> None:
    client.put_object(Bucket="uploads", Key=key, Body=BODY, StorageClass=storage_class)

    assert client.head_object(Bucket="uploads", Key=key)["StorageClass"] == storage_class
    assert refusal(client.get_object, Bucket="uploads", Key=key) == (403, "InvalidObjectState")


def test_a_bucket_of_somebody_else_is_refused_whatever_is_asked(client: Client, key: str, refusal: Refusal) -> None:
    where = {"Bucket": "uploads", "Key": key}
    assert client.put_object(**where, Body=BODY, ExpectedBucketOwner="owner")["ETag"] == MD5
    for call, more in (
        (client.put_object, {"Body": b"other"}),
        (client.get_object, {}),
        (client.delete_object, {}),
        (client.create_multipart_upload, {}),
    ):
        assert refusal(call, **where, **more, ExpectedBucketOwner="stranger") == (403, "AccessDenied")
    assert refusal(client.list_objects_v2, Bucket="uploads", ExpectedBucketOwner="stranger") == (403, "AccessDenied")
    assert client.head_object(**where)["ETag"] == MD5
