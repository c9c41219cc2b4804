"""A listing shows everything under the prefix and nothing beside it: every version, page by page, each key as it is."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import aiohttp
import pytest

from broker.domain.errors import StoreRefused
from broker.ports import ObjectLister
from tests.contracts.storage.stores import Place, Store, Who

T = TypeVar("T")

# Spaces, syntax of URLs and XML, other scripts, and what XML 1.0 cannot spell at all.
NAMES = ["a b+c%41&d.csv", "%2B.txt", "<&>'\".csv", "é日本🗺.csv", "m/n//o.txt", "tab\t\x01here.txt", "zz(1)~!*.csv"]
SKEW = timedelta(minutes=1)


async def all_of(pages: AsyncIterator[Sequence[T]]) -> list[T]:
    return [each async for page in pages for each in page]


@pytest.fixture
def prefix() -> str:
    return f"up's-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def listed_place(store: Store, http: aiohttp.ClientSession, prefix: str) -> Place:
    """The plain bucket, three entries a page."""
    return store.place(store.bucket, http, prefix=prefix, page_size=3)


@pytest.fixture
def versions_place(store: Store, http: aiohttp.ClientSession, prefix: str) -> Place:
    return store.place(store.versioned_bucket, http, prefix=prefix, page_size=3)


@pytest.fixture
def lister(listed_place: Place) -> ObjectLister:
    return listed_place.lister


@pytest.fixture
def versioned_lister(versions_place: Place) -> ObjectLister:
    return versions_place.lister


async def test_an_empty_prefix_has_one_empty_page(lister: ObjectLister) -> None:
    assert [page async for page in lister.objects()] == [[]]
    assert await all_of(lister.uploads()) == []


async def test_every_key_is_listed_once_in_order_as_it_is(store: Store, lister: ObjectLister, prefix: str) -> None:
    keys = [f"{prefix}/{name}" for name in NAMES]
    await asyncio.gather(*(store.witness.put(store.bucket, key, key.encode()) for key in keys))
    beside = [f"{prefix}-other/a", f"{prefix}.csv", prefix]
    await asyncio.gather(*(store.witness.put(store.bucket, key, b"") for key in beside))

    listed = await all_of(lister.objects())

    assert [each.key for each in listed] == sorted(keys, key=str.encode)
    assert [each.size_bytes for each in listed] == [len(each.key.encode()) for each in listed]
    assert all(each.is_latest for each in listed)
    assert all((each.version is not None) is store.words.is_always_versioned for each in listed)
    assert all(abs(each.last_modified - datetime.now(UTC)) < SKEW for each in listed)


async def test_listed_and_looked_at_an_object_is_the_same(store: Store, listed_place: Place, prefix: str) -> None:
    await store.witness.put(store.bucket, f"{prefix}/one", b"123456789")

    (listed,) = await all_of(listed_place.lister.objects())
    info = await listed_place.objects.head(listed.key)

    assert info is not None
    assert (info.etag, info.size_bytes, info.version) == (listed.etag, listed.size_bytes, listed.version)


async def test_every_version_is_listed_in_order_of_age_over_all_pages(
    store: Store, versions_place: Place, prefix: str
) -> None:
    keys = [f"{prefix}/{name}" for name in ("a b", "c")]
    for number in range(5):
        for key in keys:
            await store.witness.put(store.versioned_bucket, key, b"x" * number)

    listed = await all_of(versions_place.lister.objects())

    sizes = (4, 3, 2, 1, 0) if store.words.lists_newest_first else (0, 1, 2, 3, 4)
    assert [(each.key, each.size_bytes) for each in listed] == [(key, size) for key in keys for size in sizes]
    assert [each.is_latest for each in listed] == [size == 4 for size in sizes] * 2
    for each in listed:
        assert each.version is not None
        info = await versions_place.objects.head_version(each.key, each.version)
        assert info is not None
        assert (info.etag, info.version) == (each.etag, each.version)


async def test_what_was_deleted_is_no_latest_and_ends_no_listing(
    store: Store, versioned_lister: ObjectLister, prefix: str
) -> None:
    keys = [f"{prefix}/{name}" for name in "abcd"]
    for key in keys:
        await store.witness.put(store.versioned_bucket, key, b"x")
    for key in keys[:3]:
        await store.witness.delete(store.versioned_bucket, key)

    listed = await all_of(versioned_lister.objects())

    assert [(each.key, each.is_latest) for each in listed] == [(key, key == keys[3]) for key in keys]


@pytest.mark.parametrize("who", ["neighbour", "unknown", "impostor"])
async def test_a_store_that_refuses_us_is_not_taken_for_an_empty_one(
    store: Store, http: aiohttp.ClientSession, who: Who
) -> None:
    stranger = store.place(store.bucket, http, who=who).lister

    with pytest.raises(StoreRefused):
        await all_of(stranger.objects())
