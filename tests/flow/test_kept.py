"""The whole loop where the store encrypts with a key of KMS: an ETag is an MD5 of nothing, and nobody minds."""

import hashlib
import random
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.contract import State
from broker.dev.stack import REGION, Stack, StackOptions, start_stack
from broker.storage.s3.sigv4 import Credential
from tests.contracts.storage.s3.witness import S3Witness
from uploader import Uploader

MIB = 1 << 20
KEY = "arn:aws:kms:us-east-1:111122223333:key/1234"
KEEPING = f"""
encryption = {{mode = "aws:kms", kms_key_id = "{KEY}", bucket_key = true}}
storage_class = "STANDARD_IA"
tags = {{project = "a b", cost = "1/2"}}
acl = "bucket-owner-full-control"
"""
TAGS = [{"Key": "cost", "Value": "1/2"}, {"Key": "project", "Value": "a b"}]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory: Path = tmp_path_factory.mktemp("stack") / "dev"
    parts = {"threshold_bytes": 6 * MIB, "part_size_bytes": 5 * MIB}
    options = StackOptions(directory=directory, policy={"first_look": "1s"}, multipart=parts, keeping=KEEPING)
    running = start_stack(options)
    yield running
    running.stop()


@pytest.fixture
def store(stack: Stack) -> Iterator[Any]:
    about = stack.about
    witness = S3Witness.of(about.store, REGION, Credential(access_key=about.access_key, secret_key=about.secret_key))
    yield witness.client
    witness.close()


@pytest.fixture
async def uploader(stack: Stack) -> AsyncIterator[Uploader]:
    async with Uploader(stack.about.broker, stack.about.api_key) as opened:
        yield opened


@pytest.mark.parametrize("size", [70_000, 11 * MIB], ids=["put", "parts"])
async def test_it_is_kept_as_asked_processed_and_read(
    stack: Stack, uploader: Uploader, store: Any, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "report.bin"
    path.write_bytes(random.Random(size).randbytes(size))

    result = await uploader.put(path, wait="processed", timeout=timedelta(minutes=1))

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (result.state, result.session.result["sha256"]) == (State.PROCESSED, digest)
    assert result.proved == ("sha256" if size < MIB else None)
    where = {"Bucket": stack.about.bucket, "Key": result.session.object.key}
    head = store.head_object(**where)
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"], head["BucketKeyEnabled"]) == ("aws:kms", KEY, True)
    assert head["StorageClass"] == "STANDARD_IA"
    assert sorted(store.get_object_tagging(**where)["TagSet"], key=lambda tag: tag["Key"]) == TAGS
    assert hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() not in head["ETag"]
    await uploader.get(result.session_id, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
