"""The note in a destination: left once, read back, and never mistaken for something else."""

import asyncio
import uuid
from collections.abc import Callable
from datetime import timedelta

import aiohttp
import msgspec
import pytest

from broker.clock import SystemClock
from broker.domain.errors import StoreRefused
from broker.storage.s3.caller import S3Caller
from broker.storage.s3.credentials import FixedCredentials
from broker.storage.s3.endpoint import Endpoint
from broker.storage.s3.mark import S3StoreMark
from broker.storage.s3.sigv4 import Credential, SigV4
from tests.clock import START
from tests.contracts.storage.stores import Store
from tests.contracts.storage.test_multipart_rights import printed

MarkWith = Callable[..., S3StoreMark]


@pytest.fixture
def bucket(store: Store) -> str:
    name = f"marks-{uuid.uuid4().hex[:12]}"
    store.witness.make_bucket(name)
    return name


@pytest.fixture
def mark_with(store: Store, bucket: str, http: aiohttp.ClientSession) -> MarkWith:
    endpoint = Endpoint.of(bucket=bucket, region=store.region, url=store.url, addressing="path")
    sigv4 = SigV4(region=store.region)
    caller = S3Caller(http=http, sigv4=sigv4, endpoint=endpoint, clock=SystemClock(), timeout=timedelta(seconds=10))

    def build(reading: Credential, writing: Credential, prefix: str = "uploads") -> S3StoreMark:
        return S3StoreMark(
            caller=caller,
            reading=FixedCredentials(credential=reading),
            writing=FixedCredentials(credential=writing),
            prefix=prefix,
        )

    return build


@pytest.fixture
def mark(store: Store, mark_with: MarkWith) -> S3StoreMark:
    return mark_with(store.credential, store.credential)


async def test_nobody_marked_an_empty_prefix(mark: S3StoreMark) -> None:
    assert await mark.read() is None


async def test_a_note_is_read_back_and_says_who_left_it(store: Store, bucket: str, mark: S3StoreMark) -> None:
    await mark.write("one", now=START)

    assert await mark.read() == "one"
    assert await store.witness.keys(bucket) == {"uploads/.broker"}
    note = msgspec.json.decode(await store.witness.get(bucket, "uploads/.broker"))
    assert note == {"id": "one", "written_at": "2026-11-20T12:00:00Z", "product": "upload-broker"}


async def test_the_first_note_stays(mark: S3StoreMark) -> None:
    await mark.write("one", now=START)
    await mark.write("two", now=START)

    assert await mark.read() == "one"


async def test_of_many_at_once_one_is_left(mark: S3StoreMark) -> None:
    await asyncio.gather(*(mark.write(f"id-{number}", now=START) for number in range(8)))

    held = await mark.read()

    await mark.write("late", now=START)
    assert await mark.read() == held
    assert held is not None


async def test_every_prefix_has_its_own(store: Store, mark: S3StoreMark, mark_with: MarkWith) -> None:
    await mark.write("one", now=START)

    assert await mark_with(store.credential, store.credential, prefix="upload").read() is None
    assert await mark_with(store.credential, store.credential, prefix="").read() is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"{}",
        b'{"id":"","written_at":"2026-11-20T12:00:00Z","product":"upload-broker"}',
        b'{"id":"x","written_at":"2026-11-20T12:00:00Z","product":"other"}',
        b"\xff",
    ],
)
async def test_something_else_there_is_neither_nothing_nor_ours(
    store: Store, bucket: str, mark: S3StoreMark, body: bytes
) -> None:
    await store.witness.put(bucket, "uploads/.broker", body)

    with pytest.raises(StoreRefused, match="no note of a broker"):
        await mark.read()
    await mark.write("one", now=START)
    with pytest.raises(StoreRefused):
        await mark.read()


async def test_the_printed_policies_suffice_and_a_stranger_may_nothing(
    store: Store, bucket: str, mark_with: MarkWith
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
