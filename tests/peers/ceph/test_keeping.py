"""What Ceph 16.2 makes of how an object is to be kept: why its dialect may be asked for less than AWS."""

import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from broker.storage.s3.dialects import DIALECTS
from tests.contracts.storage.s3.stores import S3Store
from tests.peers.ceph.config import KMS_KEY_ID


@pytest.fixture
def where(store: S3Store) -> dict[str, Any]:
    return {"Bucket": store.bucket, "Key": f"kept/{uuid.uuid4().hex}"}


def test_aes256_is_taken_and_forgotten(store: S3Store, where: dict[str, Any]) -> None:
    client = store.witness.client
    client.put_object(**where, Body=b"x", ServerSideEncryption="AES256")

    assert "ServerSideEncryption" not in client.head_object(**where)
    assert "sse-s3" not in DIALECTS["ceph"].keeps


def test_kms_takes_a_named_key_and_no_bucket_key(store: S3Store, where: dict[str, Any]) -> None:
    client = store.witness.client
    with pytest.raises(ClientError, match="InvalidArgument"):
        client.put_object(**where, Body=b"x", ServerSideEncryption="aws:kms")
    with pytest.raises(ClientError, match="InvalidArgument"):
        client.put_object(**where, Body=b"x", ServerSideEncryption="aws:kms:dsse", SSEKMSKeyId=KMS_KEY_ID)
    client.put_object(**where, Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=KMS_KEY_ID, BucketKeyEnabled=True)

    head = client.head_object(**where)
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", KMS_KEY_ID)
    assert "BucketKeyEnabled" not in head
    assert "sse-kms-extras" not in DIALECTS["ceph"].keeps


def test_tags_of_an_object_in_parts_are_forgotten(store: S3Store, where: dict[str, Any]) -> None:
    client = store.witness.client
    upload = client.create_multipart_upload(**where, Tagging="a=b")["UploadId"]
    etag = client.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=parts)

    assert client.head_object(**where)["TagCount"] == 0
    assert "tags" not in DIALECTS["ceph"].keeps


def test_a_storage_class_that_is_not_there_is_refused(store: S3Store, where: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="InvalidArgument"):
        store.witness.client.put_object(**where, Body=b"x", StorageClass="STANDARD_IA")


def test_nobody_checks_whose_the_bucket_is(store: S3Store, where: dict[str, Any]) -> None:
    store.witness.client.put_object(**where, Body=b"x", ExpectedBucketOwner="111122223333")

    assert "owner" not in DIALECTS["ceph"].keeps
