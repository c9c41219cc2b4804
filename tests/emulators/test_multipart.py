"""Multipart uploads: what is complete becomes one object, what breaks a rule becomes none."""

import base64
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from emulators import checksums
from emulators.process import S3Process
from tests.emulators.conftest import Client
from tests.emulators.signing import Signer
from tests.emulators.wire import exchange

Refusal = Callable[..., tuple[int, str]]
MIB = 2**20
PARTS = [bytes([number]) * (5 * MIB) for number in (1, 2)] + [b"last"]


class Upload:
    """One multipart upload of a test."""

    def __init__(self, client: Client, key: str, **arguments: Any) -> None:
        self.client = client
        self.where = {"Bucket": "uploads", "Key": key}
        created = client.create_multipart_upload(**self.where, **arguments)
        self.named = {**self.where, "UploadId": created["UploadId"]}

    def part(self, number: int, body: bytes, **arguments: Any) -> dict[str, Any]:
        answer = self.client.upload_part(**self.named, PartNumber=number, Body=body, **arguments)
        sums = {name: value for name, value in answer.items() if name.startswith("Checksum")}
        return {"PartNumber": number, "ETag": answer["ETag"], **sums}

    def complete(self, parts: list[dict[str, Any]], **arguments: Any) -> Any:
        return self.client.complete_multipart_upload(**self.named, MultipartUpload={"Parts": parts}, **arguments)


def test_parts_become_one_object(client: Client, key: str) -> None:
    upload = Upload(client, key, ContentType="text/csv", Metadata={"a": "1"})
    parts = [upload.part(number, body) for number, body in reversed(list(enumerate(PARTS, 1)))][::-1]
    done = upload.complete(parts)
    digests = b"".join(hashlib.md5(part, usedforsecurity=False).digest() for part in PARTS)
    assert done["ETag"] == f'"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-3"'
    with client.get_object(**upload.where)["Body"] as body:
        assert body.read() == b"".join(PARTS)
    head = client.head_object(**upload.where)
    assert (head["ContentType"], head["Metadata"]) == ("text/csv", {"a": "1"})
    edge = client.get_object(**upload.where, Range=f"bytes={5 * MIB - 2}-{5 * MIB + 1}")
    with edge["Body"] as body:
        assert body.read() == b"\1\1\2\2"
    assert upload.complete(parts)["ETag"] == done["ETag"]


def test_every_rule_of_completion(client: Client, key: str, refusal: Refusal) -> None:
    upload = Upload(client, key)
    first, second, small = (upload.part(number, body) for number, body in enumerate(PARTS, 1))
    assert refusal(upload.complete, parts=[second, first]) == (400, "InvalidPartOrder")
    assert refusal(upload.complete, parts=[first, first]) == (400, "InvalidPartOrder")
    assert refusal(upload.complete, parts=[first, {**second, "PartNumber": 7}]) == (400, "InvalidPart")
    assert refusal(upload.complete, parts=[{**first, "ETag": second["ETag"]}]) == (400, "InvalidPart")
    assert refusal(upload.complete, parts=[]) == (400, "MalformedXML")
    again = upload.part(4, PARTS[0])
    assert refusal(upload.complete, parts=[first, small, again]) == (400, "EntityTooSmall")
    assert refusal(upload.complete, parts=[first], MpuObjectSize=1) == (400, "InvalidRequest")
    assert refusal(client.head_object, **upload.where)[0] == 404
    upload.complete([first, small])
    assert client.head_object(**upload.where)["ContentLength"] == 5 * MIB + 4


@pytest.mark.parametrize("number", [0, 10_001])
def test_part_numbers_are_bounded(client: Client, key: str, refusal: Refusal, number: int) -> None:
    upload = Upload(client, key)
    assert refusal(upload.part, number=number, body=b"x") == (400, "InvalidArgument")
    upload.part(10_000, b"x")


def test_part_of_no_upload_is_not_taken_for_an_object(
    s3: S3Process, client: Client, signer: Signer, key: str, refusal: Refusal
) -> None:
    for params, code in (({"partNumber": "1"}, "InvalidArgument"), ({"uploadId": "x"}, "InvalidArgument")):
        target = signer.presign("PUT", f"/uploads/{key}", params=params)
        assert exchange(s3.endpoint, "PUT", target, body=b"x").code == code
    assert refusal(client.head_object, Bucket="uploads", Key=key)[0] == 404


def test_aborted_upload_is_gone_with_its_parts(client: Client, key: str, refusal: Refusal, data: Path) -> None:
    upload = Upload(client, key)
    before = sum(1 for _ in (data / "blobs").glob("??/*"))
    part = upload.part(1, PARTS[0])
    assert sum(1 for _ in (data / "blobs").glob("??/*")) == before + 1
    client.abort_multipart_upload(**upload.named)
    assert sum(1 for _ in (data / "blobs").glob("??/*")) == before
    gone = (404, "NoSuchUpload")
    assert refusal(client.abort_multipart_upload, **upload.named) == gone
    assert refusal(client.list_parts, **upload.named) == gone
    assert refusal(upload.part, number=2, body=b"x") == gone
    assert refusal(upload.complete, parts=[part]) == gone


def test_upload_belongs_to_its_key(client: Client, key: str, refusal: Refusal) -> None:
    upload = Upload(client, key)
    other = {**upload.named, "Key": f"{key}-other"}
    assert refusal(client.upload_part, **other, PartNumber=1, Body=b"x") == (404, "NoSuchUpload")


def test_parts_and_uploads_are_listed_by_pages(client: Client, key: str) -> None:
    uploads = [Upload(client, f"{key}/{name}") for name in ("b", "a", "a")]
    for number in range(1, 6):
        uploads[0].part(number, bytes([number]))
    pages = client.get_paginator("list_parts").paginate(**uploads[0].named, PaginationConfig={"PageSize": 2})
    assert [part["PartNumber"] for page in pages for part in page["Parts"]] == [1, 2, 3, 4, 5]
    listing = client.get_paginator("list_multipart_uploads")
    found = listing.paginate(Bucket="uploads", Prefix=f"{key}/", PaginationConfig={"PageSize": 1})
    listed = [(each["Key"], each["UploadId"]) for page in found for each in page.get("Uploads", ())]
    assert sorted(listed) == sorted((each.named["Key"], each.named["UploadId"]) for each in uploads)
    rolled = client.list_multipart_uploads(Bucket="uploads", Prefix=key, Delimiter="/")
    assert [each["Prefix"] for each in rolled["CommonPrefixes"]] == [f"{key}/"]


def test_completion_may_be_create_only(client: Client, key: str) -> None:
    uploads = [Upload(client, key) for _ in range(8)]
    parts = [[upload.part(1, bytes([number]))] for number, upload in enumerate(uploads)]

    def complete(pair: tuple[Upload, list[dict[str, Any]]]) -> int:
        try:
            answer = pair[0].complete(pair[1], IfNoneMatch="*")
        except client.exceptions.ClientError as exc:
            answer = exc.response
        return int(answer["ResponseMetadata"]["HTTPStatusCode"])

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(complete, zip(uploads, parts, strict=True)))
    assert statuses == [200] + [412] * 7


def test_composite_checksum_needs_every_part_to_name_its_own(client: Client, key: str, refusal: Refusal) -> None:
    upload = Upload(client, key, ChecksumAlgorithm="SHA256")
    parts = [upload.part(number, body, ChecksumAlgorithm="SHA256") for number, body in enumerate(PARTS, 1)]
    silent = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in parts]
    assert refusal(upload.complete, parts=silent) == (400, "InvalidRequest")
    wrong = [{**parts[0], "ChecksumSHA256": parts[1]["ChecksumSHA256"]}, *parts[1:]]
    assert refusal(upload.complete, parts=wrong) == (400, "InvalidPart")
    assert refusal(upload.part, number=9, body=b"x", ChecksumAlgorithm="CRC32") == (400, "InvalidRequest")
    digests = b"".join(hashlib.sha256(part).digest() for part in PARTS)
    expected = base64.b64encode(hashlib.sha256(digests).digest()).decode() + "-3"
    assert upload.complete(parts)["ChecksumSHA256"] == expected


def test_full_object_checksum_is_of_the_whole(client: Client, key: str, refusal: Refusal) -> None:
    upload = Upload(client, key, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    parts = [upload.part(number, body) for number, body in enumerate(PARTS, 1)]
    whole = checksums.new("crc32")
    whole.update(b"".join(PARTS))
    expected = base64.b64encode(whole.digest()).decode()
    wrong = {"ChecksumCRC32": "AAAAAA==", "ChecksumType": "FULL_OBJECT"}
    assert refusal(upload.complete, parts=parts, **wrong) == (400, "BadDigest")
    assert upload.complete(parts, ChecksumCRC32=expected, ChecksumType="FULL_OBJECT")["ChecksumCRC32"] == expected
    read = client.head_object(**upload.where, ChecksumMode="ENABLED")
    assert (read["ChecksumCRC32"], read["ChecksumType"]) == (expected, "FULL_OBJECT")


def test_impossible_checksum_types_are_refused(client: Client, key: str, refusal: Refusal) -> None:
    where = {"Bucket": "uploads", "Key": key}
    create = client.create_multipart_upload
    assert refusal(create, **where, ChecksumAlgorithm="SHA256", ChecksumType="FULL_OBJECT")[1] == "InvalidRequest"
    assert refusal(create, **where, ChecksumAlgorithm="CRC64NVME", ChecksumType="COMPOSITE")[1] == "InvalidRequest"


def test_part_may_be_copied(client: Client, stranger: Client, key: str, refusal: Refusal) -> None:
    client.put_object(Bucket="private", Key=key, Body=PARTS[0] + b"tail")
    upload = Upload(client, key)
    source = {"Bucket": "private", "Key": key}
    copied = client.upload_part_copy(**upload.named, PartNumber=1, CopySource=source, CopySourceRange="bytes=1-5242880")
    last = upload.part(2, b"end")
    upload.complete([{"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}, last])
    with client.get_object(**upload.where)["Body"] as body:
        assert body.read() == (PARTS[0] + b"tail")[1 : 5 * MIB + 1] + b"end"
    theirs = stranger.create_multipart_upload(Bucket="theirs", Key=key)["UploadId"]
    arguments = {"Bucket": "theirs", "Key": key, "UploadId": theirs, "PartNumber": 1, "CopySource": source}
    assert refusal(stranger.upload_part_copy, **arguments) == (403, "AccessDenied")
