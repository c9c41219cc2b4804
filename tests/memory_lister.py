"""Listing a store in a dict, and the note that says whose it is.

A listing has a page a key, so that whatever happens between two pages can happen in a test, too.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from broker.domain.objects import ObjectInfo
from broker.ports import ListedObject, UnfinishedUpload

if TYPE_CHECKING:
    from tests.memory_bucket import MemoryBucket


async def _nothing() -> None:
    return


@dataclass(slots=True, kw_only=True)
class MemoryLister:
    """Implements ObjectLister.

    :param before_page: awaited before each page of objects, `at_end` after the last: places for a test to meddle.
    """

    bucket: "MemoryBucket"
    before_page: Callable[[], Awaitable[None]] = _nothing
    at_end: Callable[[], Awaitable[None]] = _nothing

    async def objects(self) -> AsyncIterator[Sequence[ListedObject]]:
        for key in sorted(self.bucket.stored):
            await self.before_page()
            if self.bucket.trouble:
                raise self.bucket.trouble
            states = self.bucket.states(key)
            yield [_listed(key, info, is_latest=not place) for place, info in enumerate(states)]
        await self.at_end()

    async def uploads(self) -> AsyncIterator[Sequence[UnfinishedUpload]]:
        if self.bucket.trouble:
            raise self.bucket.trouble
        unfinished = self.bucket.uploads.unfinished.items()
        yield [
            UnfinishedUpload(key=each.listed_as or each.key, upload_id=name, initiated=each.opened_at)
            for name, each in unfinished
        ]


@dataclass(slots=True, kw_only=True)
class MemoryMark:
    """Implements StoreMark. The note lies among the objects, as in a real store.

    :param before_write: awaited before a note is written: a place for a test to meddle.
    """

    bucket: "MemoryBucket"
    key: str = "uploads/.broker"
    note: str | None = None
    before_write: Callable[[], Awaitable[None]] = _nothing

    async def read(self) -> str | None:
        if self.bucket.trouble:
            raise self.bucket.trouble
        return self.note

    async def write(self, store_id: str, *, now: datetime) -> None:  # noqa: ARG002 - for people who read the note
        await self.before_write()
        if self.bucket.trouble:
            raise self.bucket.trouble
        if self.note is None:
            self.note = store_id
            self.bucket.store(self.key, size_bytes=len(store_id), content_type="application/json")


def _listed(key: str, info: ObjectInfo, *, is_latest: bool) -> ListedObject:
    assert info.last_modified is not None
    return ListedObject(
        key=key,
        size_bytes=info.size_bytes,
        etag=info.etag,
        version=info.version,
        is_latest=is_latest,
        last_modified=info.last_modified,
    )
