"""List objects, page by page, in the order of UTF-8.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects/list.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from emulators.gcs.catalogue import Catalogue
from emulators.gcs.conditions import number
from emulators.gcs.context import Call, Reply, Store, json_reply
from emulators.gcs.errors import GcsError
from emulators.gcs.records import Stored
from emulators.gcs.resource import object_resource

MAX_RESULTS: Final = 1_000  # objects/list: "the service will use this parameter or 1,000 items, whichever is smaller"
_REFUSED: Final = ("matchGlob", "softDeleted", "includeFoldersAsPrefixes", "filter")

Cursor = tuple[bytes, int]
"""A name and a generation; what comes behind them is next. No generation is below zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    bucket: str
    prefix: str
    delimiter: str
    low: bytes
    high: bytes | None
    limit: int
    all_versions: bool


async def list_objects(store: Store, call: Call) -> Reply:
    bucket, params = call.bucket(store, "storage.objects.list"), call.request.params
    query = _query(bucket.name, params)
    items, prefixes, following = page_of(store.catalogue, query, _cursor(params.get("pageToken")))
    listed: dict[str, Any] = {"kind": "storage#objects"}
    if following is not None:
        listed["nextPageToken"] = _token(following)
    if prefixes:
        listed["prefixes"] = prefixes
    if items:
        listed["items"] = [object_resource(call.endpoint, bucket.name, each) for each in items]
    return json_reply(msgspec.json.encode(listed))


def _query(bucket: str, params: Any) -> Query:
    for name in _REFUSED:
        if name in params and params[name] not in {"", "false"}:
            raise GcsError("NotImplemented", f"Not emulated, so refused: {name}")
    prefix, limit = params.get("prefix", ""), number(params.get("maxResults", str(MAX_RESULTS)), "maxResults")
    if limit < 1:
        raise GcsError("InvalidArgument", "maxResults must be positive.")
    ends = [each for each in (behind(prefix.encode()), params.get("endOffset", "").encode()) if each]
    return Query(
        bucket=bucket,
        prefix=prefix,
        delimiter=params.get("delimiter", ""),
        low=max(prefix.encode(), params.get("startOffset", "").encode()),
        high=min(ends, default=None),
        limit=min(limit, MAX_RESULTS),
        all_versions=params.get("versions") == "true",
    )


def page_of(catalogue: Catalogue, query: Query, cursor: Cursor) -> tuple[list[Stored], list[str], Cursor | None]:
    """Objects and prefixes together fill a page; where the next one begins, if there is one."""
    items: list[Stored] = []
    prefixes: list[str] = []
    while True:
        room = query.limit - len(items) - len(prefixes)
        rows = catalogue.page(
            query.bucket, query.low, query.high, cursor, all_versions=query.all_versions, limit=room + 1
        )
        for stored in rows:
            if len(items) + len(prefixes) == query.limit:
                return items, prefixes, cursor
            common = _common_prefix(query, stored.name)
            if common is not None:
                prefixes.append(common)
                cursor = (behind(common.encode()) or b"", -1)
                break  # everything under this prefix is said
            items.append(stored)
            cursor = (stored.name.encode(), stored.generation)
        else:
            return items, prefixes, None


def _common_prefix(query: Query, name: str) -> str | None:
    if not query.delimiter:
        return None
    head, found, _ = name[len(query.prefix) :].partition(query.delimiter)
    return query.prefix + head + found if found else None


def behind(prefix: bytes) -> bytes | None:
    """The first name after all that start with `prefix`; None when there is no such bound."""
    return prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else None


def _token(cursor: Cursor) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(cursor)).decode()


def _cursor(token: str | None) -> Cursor:
    if not token:
        return b"", -1
    try:
        return msgspec.msgpack.decode(base64.urlsafe_b64decode(token), type=tuple[bytes, int])
    except (binascii.Error, ValueError, msgspec.DecodeError) as exc:
        raise GcsError("InvalidArgument", "Invalid page token.") from exc
