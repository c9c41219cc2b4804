"""Each right over multipart uploads works with the least policy that its adapter names, and with no less.

Where a store obeys unsigned headers, a signed part can be turned into a copy as well as a PUT can: there, too, a write
credential that cannot read is what helps.
"""

import uuid
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pytest

from broker.domain.errors import StoreRefused
from broker.domain.objects import judge
from broker.storage.s3.policies import Right, policies_of
from tests.contracts.storage.s3.multiparts import SPEC, PartsPlace, with_part_header
from tests.contracts.storage.s3.stores import S3Store
from tests.contracts.storage.test_lister import all_of
from tests.contracts.storage.wire import Wire, as_signed


def printed(store: S3Store, bucket: str, right: Right, who: str) -> list[dict[str, Any]]:
    """What `setup s3 --print` prints for a right, given to `who`."""
    policies = policies_of(bucket=bucket, prefix="uploads", dialect=store.dialect, origins=())
    principal = {"Principal": {"AWS": [f"arn:aws:iam:::user/{who}"]}}
    return [msgspec.to_builtins(statement) | principal for statement in getattr(policies, right).statement]


@pytest.fixture
def bucket(store: S3Store) -> str:
    name = f"rights-{uuid.uuid4().hex[:12]}"
    store.witness.make_bucket(name)
    return name


@pytest.fixture
def owner(store: S3Store, bucket: str, http: aiohttp.ClientSession) -> PartsPlace:
    return PartsPlace.on(store, bucket, http, store.credential)


@pytest.fixture
def other(store: S3Store, bucket: str, http: aiohttp.ClientSession) -> PartsPlace:
    """The adapters with the credential of another account, which may what the policy says."""
    return PartsPlace.on(store, bucket, http, store.writer)


async def test_a_stranger_opens_lists_and_aborts_nothing(owner: PartsPlace, other: PartsPlace, key: str) -> None:
    upload_id, stored = await owner.uploaded(key)

    for call in (
        other.uploads.open(key, SPEC, "sealed"),
        other.uploads.parts(key, upload_id),
        other.uploads.complete(key, upload_id, stored),
        other.remover.open_uploads(key),
        other.remover.abort(key, upload_id),
    ):
        with pytest.raises(StoreRefused, match="403 AccessDenied"):
            await call
    part = await other.send.put(await other.sign(key, upload_id, 3, 3), b"abc")

    assert part.status == 403
    assert await owner.uploads.parts(key, upload_id) == stored


async def test_a_writer_behind_the_guard_uploads_in_parts(
    store: S3Store, bucket: str, owner: PartsPlace, other: PartsPlace, key: str
) -> None:
    writer = printed(store, bucket, "write", store.writer_name)
    store.witness.set_policy(bucket, *writer, *printed(store, bucket, "read", store.owner_name))
    upload_id, stored = await other.uploaded(key)

    assert await other.uploads.complete(key, upload_id, stored)

    assert await other.uploads.parts(key, upload_id) is None
    info = await owner.objects.head(key)
    assert info is not None
    assert judge(SPEC, info) is None
    with pytest.raises(StoreRefused):
        await other.objects.head(key)


async def test_a_remover_finds_and_aborts_and_opens_nothing(
    store: S3Store, bucket: str, owner: PartsPlace, other: PartsPlace, key: str
) -> None:
    store.witness.set_policy(bucket, *printed(store, bucket, "remove", store.writer_name))
    upload_id, _ = await owner.uploaded(key)

    assert await other.remover.open_uploads(key) == [upload_id]
    assert await other.remover.abort(key, upload_id)

    assert await owner.uploads.parts(key, upload_id) is None
    with pytest.raises(StoreRefused):
        await other.uploads.open(key, SPEC, "sealed")


async def test_a_remover_lists_what_lies_under_the_prefix(
    store: S3Store, bucket: str, owner: PartsPlace, http: aiohttp.ClientSession, key: str
) -> None:
    await store.witness.put(bucket, key, b"x")
    upload_id = await owner.uploads.open(key, SPEC, "sealed")
    lister = store.place(bucket, http, who="neighbour").lister
    with pytest.raises(StoreRefused, match="403 AccessDenied"):
        await all_of(lister.objects())
    with pytest.raises(StoreRefused, match="403 AccessDenied"):
        await all_of(lister.uploads())

    store.witness.set_policy(bucket, *printed(store, bucket, "remove", store.writer_name))

    assert [each.key for each in await all_of(lister.objects())] == [key]
    assert [each.upload_id for each in await all_of(lister.uploads())] == [upload_id]


async def copying(place: PartsPlace, key: str, upload_id: str, source: str, size_bytes: int) -> Wire:
    wire = as_signed(await place.sign(key, upload_id, 1, size_bytes))
    path = urlsplit((await place.sign(source, "u", 1, 0)).url).path
    return with_part_header("x-amz-copy-source", path)(replace(wire, body=b"x" * size_bytes))


async def test_a_part_becomes_a_copy_only_where_unsigned_headers_are_obeyed(
    store: S3Store, bucket: str, owner: PartsPlace, key: str
) -> None:
    """Signed without a byte, as the broker never signs one: Ceph 16.2 refuses a copy that has a body."""
    await store.witness.put(bucket, "private/secret", b"987654321")
    upload_id = await owner.uploads.open(key, SPEC, "sealed")

    reply = await owner.send(await copying(owner, key, upload_id, "private/secret", 0))

    stored = await owner.uploads.parts(key, upload_id)
    assert stored is not None
    if store.dialect.accepts_unsigned_headers:
        assert (reply.status, [part.size_bytes for part in stored]) == (200, [9])
    else:
        assert (reply.status, stored) == (403, [])


async def test_behind_the_guard_no_part_becomes_a_copy(
    store: S3Store, bucket: str, other: PartsPlace, key: str
) -> None:
    store.witness.set_policy(bucket, *printed(store, bucket, "write", store.writer_name))
    upload_id = await other.uploads.open(key, SPEC, "sealed")
    for source, size_bytes in (("private/secret", 0), ("uploads/foreign", 0), ("private/secret", 9)):
        await store.witness.put(bucket, source, b"987654321")

        reply = await other.send(await copying(other, key, upload_id, source, size_bytes))

        assert reply.status in {400, 403}
        assert await other.uploads.parts(key, upload_id) == []
