"""The note in a destination needs the rights `write` and `read`, as `setup s3 --print` prints them, and no more."""

import uuid
from collections.abc import Callable
from dataclasses import replace

import aiohttp
import pytest

from broker.domain.errors import StoreRefused
from broker.storage.s3.credentials import FixedCredentials
from broker.storage.s3.mark import S3StoreMark
from broker.storage.s3.sigv4 import Credential
from tests.clock import START
from tests.contracts.storage.s3.stores import S3Store
from tests.contracts.storage.s3.test_multipart_rights import printed

MarkWith = Callable[..., S3StoreMark]


@pytest.fixture
def bucket(store: S3Store) -> str:
    name = f"marks-{uuid.uuid4().hex[:12]}"
    store.witness.make_bucket(name)
    return name


@pytest.fixture
def mark_with(store: S3Store, bucket: str, http: aiohttp.ClientSession) -> MarkWith:
    mark = store.place(bucket, http).mark

    def build(reading: Credential, writing: Credential) -> S3StoreMark:
        return replace(mark, reading=FixedCredentials(credential=reading), writing=FixedCredentials(credential=writing))

    return build


async def test_the_printed_policies_suffice_and_a_stranger_may_nothing(
    store: S3Store, bucket: str, mark_with: MarkWith
) -> None:
    mark = mark_with(store.credential, store.writer)
    with pytest.raises(StoreRefused):
        await mark.write("one", now=START)
    with pytest.raises(StoreRefused):
        await mark_with(store.writer, store.credential).read()
    store.witness.set_policy(
        bucket, *printed(store, bucket, "write", store.writer_name), *printed(store, bucket, "read", store.owner_name)
    )

    await mark.write("one", now=START)

    assert await mark.read() == "one"
