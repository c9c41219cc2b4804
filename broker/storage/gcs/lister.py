"""Lists what is stored under a prefix, every generation of it.

Obeys "Objects: list" of the Cloud Storage JSON API. `versions=true` costs nothing where a bucket keeps only live ones;
what was deleted softly is no generation any more and is not shown. An upload that nobody finished is in no listing:
Cloud Storage tells of a resumable one to nobody but who holds its URI, and forgets it after a week. Permission of the
janitor: storage.objects.list.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Final

import msgspec
from msgspec import Struct

from broker.domain.errors import StoreUnavailable
from broker.ports import ListedObject, UnfinishedUpload
from broker.storage.gcs.caller import GcsCaller, Query, trouble
from broker.storage.gcs.endpoint import bucket_path
from broker.storage.gcs.resource import Resource
from broker.storage.gcs.tokens import AccessTokens

PAGE_SIZE: Final = 1_000  # Objects: list, maxResults: "the recommended upper value … is 1000 objects"
# "Partial responses": custom metadata alone could make a page of megabytes.
_FIELDS: Final = "nextPageToken,items(name,generation,size,md5Hash,timeCreated,timeDeleted)"


class _Page(Struct, frozen=True, kw_only=True, rename="camel"):
    items: tuple[Resource, ...] = ()
    next_page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsObjectLister:
    """`prefix` is the destination's, without the slash behind it."""

    caller: GcsCaller
    tokens: AccessTokens
    bucket: str
    prefix: str
    page_size: int = PAGE_SIZE

    async def objects(self) -> AsyncIterator[Sequence[ListedObject]]:
        token = ""
        while True:
            page = await self._page([("pageToken", token)] if token else [])
            yield [_listed(each) for each in page.items]
            if not page.next_page_token:
                return
            if page.next_page_token == token:
                raise StoreUnavailable("the store answers with the same page of a listing again")
            token = page.next_page_token

    async def uploads(self) -> AsyncIterator[Sequence[UnfinishedUpload]]:
        """None: nothing that a listing could show is begun here."""
        yield ()

    async def _page(self, after: Query) -> _Page:
        query = [
            ("prefix", f"{self.prefix}/" if self.prefix else ""),
            ("versions", "true"),
            ("maxResults", str(self.page_size)),
            ("fields", _FIELDS),
            *after,
        ]
        answer = await self.caller.call("GET", bucket_path(self.bucket), self.tokens, query=query)
        if answer.status != 200:
            raise trouble(answer)
        try:
            return msgspec.json.decode(answer.body, type=_Page)
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            raise StoreUnavailable("the store answers with something that is no listing") from exc


def _listed(found: Resource) -> ListedObject:
    return ListedObject(
        key=found.name,
        size_bytes=int(found.size),
        etag=found.etag,
        version=found.generation,
        is_latest=found.time_deleted is None,
        last_modified=found.time_created.astimezone(UTC),
    )
