"""What a real Ceph says of the bytes that it is sent, to an uploader that compares it with the MD5 of what left."""

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from broker.contract import State
from tests.contracts.storage.s3.guard import guard_statements
from tests.contracts.storage.s3.stores import S3Store
from tests.peers.ceph.config import KMS_KEY_ID
from tests.peers.ceph.loop import Loop, LoopOptions, running_loop
from uploader import Uploader
from uploader.witness import md5_of

MIB = 1 << 20


@pytest.fixture(scope="module")
def loop(store: S3Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    bucket = f"proof-{uuid.uuid4().hex[:12]}"
    store.witness.make_bucket(bucket)
    store.witness.set_policy(bucket, *guard_statements(bucket, writer=store.writer_name, reader=store.owner_name))
    options = LoopOptions(
        bucket=bucket,
        directory=tmp_path_factory.mktemp("proof"),
        first_look="1s",
        multipart={"threshold_bytes": 6 * MIB, "part_size_bytes": 5 * MIB},
        has_consumer=False,
    )
    with running_loop(store, options) as running:
        yield running


@pytest.fixture
async def uploader(loop: Loop) -> AsyncIterator[Uploader]:
    async with Uploader(loop.url, loop.api_key) as opened:
        yield opened


@pytest.mark.parametrize(("size", "requests"), [(0, 1), (70_000, 1), (3 * MIB + 1, 1), (16 * MIB + 1, 4)])
async def test_its_etag_proves_one_put_and_many_parts(
    uploader: Uploader, tmp_path: Path, size: int, requests: int
) -> None:
    path = tmp_path / "report.bin"
    path.write_bytes(os.urandom(size))
    result = await uploader.put(path)
    assert (result.state, result.proved, result.attempts) == (State.VERIFIED, "md5", requests)


@pytest.mark.parametrize("asked", [{}, {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KMS_KEY_ID}], ids=str)
def test_under_a_key_of_kms_its_word_is_not_taken(store: S3Store, asked: dict[str, str]) -> None:
    client, where = store.witness.client, {"Bucket": store.bucket, "Key": uuid.uuid4().hex}
    whole = client.put_object(**where, Body=b"x", **asked)
    upload = client.create_multipart_upload(**where, **asked)["UploadId"]
    part = client.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"x")
    said = [md5_of(each["ResponseMetadata"]["HTTPHeaders"].items()) for each in (whole, part)]
    assert [each is None for each in said] == [bool(asked)] * 2
