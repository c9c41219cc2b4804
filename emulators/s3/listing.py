"""Operations that list, and the bulk delete.

Pages under https://docs.aws.amazon.com/AmazonS3/latest/API/: API_ListObjectsV2.html, API_ListObjects.html,
API_ListObjectVersions.html, API_DeleteObjects.html. Keys come in UTF-8 binary order.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from urllib.parse import quote

from emulators.s3 import body
from emulators.s3.catalogue import Bucket, Stored
from emulators.s3.conditions import matches
from emulators.s3.context import Call, Reply, Store, quoted, xml_reply
from emulators.s3.errors import S3Error
from emulators.s3.objects import iso, remove
from emulators.s3.xml import Element, Node, parse

MAX_KEYS: Final = 1000  # ListObjectsV2 "Returns some or all (up to 1,000)", DeleteObjects "up to 1,000 keys"
LAST: Final = b"\xff"  # a byte that UTF-8 never uses: `prefix + LAST` comes after every key with the prefix

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Entries and common prefixes in one order; `after` continues, and is None on the last page."""

    entries: list[tuple[str, T]]
    prefixes: list[str]
    after: bytes | None


def collect(
    fetch: Callable[[bytes, int], list[tuple[str, T]]], *, prefix: str, delimiter: str, after: bytes, limit: int
) -> Page[T]:
    """Roll keys up to the delimiter, skipping over what lies under a prefix that was already shown."""
    entries: list[tuple[str, T]] = []
    prefixes: list[str] = []
    position = after
    while len(entries) + len(prefixes) < limit:
        wanted = limit - len(entries) - len(prefixes)
        batch = fetch(position, wanted)
        for key, value in batch:
            common = common_prefix(key, prefix, delimiter)
            if common is None:
                entries.append((key, value))
                position = key.encode()
            elif not prefixes or prefixes[-1] != common:
                prefixes.append(common)
                position = common.encode() + LAST
        if len(batch) < wanted:
            return Page(entries=entries, prefixes=prefixes, after=None)
    return Page(entries=entries, prefixes=prefixes, after=position if limit and fetch(position, 1) else None)


def common_prefix(key: str, prefix: str, delimiter: str) -> str | None:
    head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
    return prefix + head + found if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Query:
    """The parameters that all listings share."""

    bucket: Bucket
    prefix: str
    delimiter: str
    limit: int
    is_url_encoded: bool

    def name(self, text: str) -> str:
        return quote(text, safe="/-_.~*") if self.is_url_encoded else text

    def shared_nodes(self, limit_name: str = "MaxKeys") -> list[Node]:
        nodes: list[Node] = [("Prefix", self.name(self.prefix)), (limit_name, str(self.limit))]
        nodes += [("Delimiter", self.name(self.delimiter))] if self.delimiter else []
        nodes += [("EncodingType", "url")] if self.is_url_encoded else []
        return nodes

    def prefix_nodes(self, prefixes: list[str]) -> list[Node]:
        return [("CommonPrefixes", [("Prefix", self.name(each))]) for each in prefixes]


def read_query(store: Store, call: Call, action: str, limit_name: str) -> _Query:
    """:raises S3Error: AccessDenied, InvalidArgument."""
    bucket = store.bucket(call.request.bucket or "")
    call.access(bucket).require(action)
    params = call.request.params
    limit = params.get(limit_name) or str(MAX_KEYS)
    if not limit.isdecimal() or len(limit) > 10:
        raise S3Error("InvalidArgument", fields={"ArgumentName": limit_name, "ArgumentValue": limit})
    if params.get("encoding-type", "url") != "url":
        raise S3Error("InvalidArgument", "Invalid Encoding Method specified in Request")
    return _Query(
        bucket=bucket,
        prefix=params.get("prefix", ""),
        delimiter=params.get("delimiter", ""),
        limit=min(int(limit), MAX_KEYS),
        is_url_encoded="encoding-type" in params,
    )


async def list_objects(store: Store, call: Call) -> Reply:
    """Both versions: `list-type=2` continues with a token, version 1 with a key."""
    params = call.request.params
    query = read_query(store, call, "s3:ListBucket", "max-keys")
    if params.get("list-type", "2") != "2":
        raise S3Error("InvalidArgument", fields={"ArgumentName": "list-type"})
    is_v2 = "list-type" in params
    start = params.get("start-after", "") if is_v2 else params.get("marker", "")
    after = _from_token(params["continuation-token"]) if is_v2 and "continuation-token" in params else start.encode()
    page = collect(
        lambda position, count: store.catalogue.list_latest(query.bucket.name, query.prefix, position, count),
        prefix=query.prefix,
        delimiter=query.delimiter,
        after=_past_prefix(after, query),
        limit=query.limit,
    )
    nodes: list[Node] = [("Name", query.bucket.name), *query.shared_nodes()]
    nodes.append(("IsTruncated", _bool(page.after is not None)))
    nodes += _v2_nodes(page, query, params) if is_v2 else _v1_nodes(page, query, start)
    has_owner = not is_v2 or params.get("fetch-owner") == "true"
    nodes += [_entry(query.name(key), stored, has_owner=has_owner) for key, stored in page.entries]
    return xml_reply("ListBucketResult", nodes + query.prefix_nodes(page.prefixes))


def _past_prefix(after: bytes, query: _Query) -> bytes:
    """A marker that is itself a common prefix stands for everything under it (version 1 hands such markers out)."""
    is_prefix = bool(query.delimiter) and after.endswith(query.delimiter.encode()) and after != query.prefix.encode()
    return after + LAST if is_prefix and after.startswith(query.prefix.encode()) else after


def _v2_nodes(page: Page[Stored], query: _Query, params: Mapping[str, str]) -> list[Node]:
    nodes: list[Node] = [("KeyCount", str(len(page.entries) + len(page.prefixes)))]
    if "continuation-token" in params:
        nodes.append(("ContinuationToken", params["continuation-token"]))
    if "start-after" in params:
        nodes.append(("StartAfter", query.name(params["start-after"])))
    if page.after is not None:
        nodes.append(("NextContinuationToken", base64.urlsafe_b64encode(page.after).decode()))
    return nodes


def _v1_nodes(page: Page[Stored], query: _Query, marker: str) -> list[Node]:
    nodes: list[Node] = [("Marker", query.name(marker))]
    if page.after is not None and query.delimiter:
        nodes.append(("NextMarker", query.name(page.after.removesuffix(LAST).decode())))
    return nodes


def _from_token(token: str) -> bytes:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as exc:
        raise S3Error("InvalidArgument", "The continuation token provided is incorrect") from exc


def _entry(name: str, stored: Stored, *, has_owner: bool) -> Node:
    nodes: list[Node] = [("Key", name), ("LastModified", iso(stored.modified)), *size_nodes(stored)]
    if stored.checksum is not None:
        nodes.append(("ChecksumAlgorithm", stored.checksum.algorithm.upper()))
        nodes.append(("ChecksumType", stored.checksum.kind))
    nodes += [owner_node("Owner", stored.owner)] if has_owner else []
    return ("Contents", nodes)


def size_nodes(stored: Stored) -> list[Node]:
    storage_class = stored.headers.get("x-amz-storage-class", "STANDARD")
    return [("ETag", quoted(stored.etag)), ("Size", str(stored.size_bytes)), ("StorageClass", storage_class)]


def owner_node(name: str, owner: str) -> Node:
    return (name, [("ID", owner), ("DisplayName", owner)])


async def list_versions(store: Store, call: Call) -> Reply:
    """Every version and delete marker, newest first within a key."""
    query = read_query(store, call, "s3:ListBucketVersions", "max-keys")
    if query.delimiter:
        raise S3Error("NotImplemented", "This emulator lists versions without a delimiter only.")
    key_marker, version_marker = call.request.params.get("key-marker", ""), call.request.params.get("version-id-marker")
    seen = store.catalogue.version(query.bucket.name, key_marker, version_marker) if version_marker else None
    rows = store.catalogue.list_versions(
        query.bucket.name, query.prefix, key_marker, seen.seq if seen else 0, query.limit + 1
    )
    shown = rows[: query.limit]
    nodes: list[Node] = [("Name", query.bucket.name), *query.shared_nodes()]
    nodes += [("KeyMarker", query.name(key_marker)), ("VersionIdMarker", version_marker or "")]
    nodes.append(("IsTruncated", _bool(len(rows) > len(shown))))
    if len(rows) > len(shown) and shown:
        nodes += [("NextKeyMarker", query.name(shown[-1][0])), ("NextVersionIdMarker", shown[-1][2].version)]
    nodes += [_version(query.name(key), stored, is_latest=is_latest) for key, is_latest, stored in shown]
    return xml_reply("ListVersionsResult", nodes)


def _version(name: str, stored: Stored, *, is_latest: bool) -> Node:
    nodes: list[Node] = [
        ("Key", name),
        ("VersionId", stored.version),
        ("IsLatest", _bool(is_latest)),
        ("LastModified", iso(stored.modified)),
        owner_node("Owner", stored.owner),
    ]
    return ("DeleteMarker", nodes) if stored.is_marker else ("Version", nodes + size_nodes(stored))


def _bool(value: bool) -> str:
    return "true" if value else "false"


async def delete_objects(store: Store, call: Call) -> Reply:
    """Up to 1,000 keys; each is judged alone."""
    bucket = store.bucket(call.request.bucket or "")
    plan = body.plan(call.request, call.signed, max_bytes=body.MAX_DOCUMENT_BYTES)
    if plan.content_md5 is None and plan.checksum is None and plan.trailer is None:
        raise S3Error("InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
    document = parse(await store.intake.document(call.http, plan), "Delete")
    wanted = document.all("Object")
    if not 1 <= len(wanted) <= MAX_KEYS:
        raise S3Error("MalformedXML")
    nodes = [_delete_one(store, call, bucket, each) for each in wanted]
    is_quiet = document.one("Quiet") == "true"
    return xml_reply("DeleteResult", [node for node in nodes if not (is_quiet and node[0] == "Deleted")])


def _delete_one(store: Store, call: Call, bucket: Bucket, wanted: Element) -> Node:
    key, version, etag = wanted.raw("Key") or "", wanted.one("VersionId"), wanted.one("ETag")
    named: list[Node] = [("Key", key), *([("VersionId", version)] if version else [])]
    try:
        if etag is not None:
            _check_etag(store.catalogue.latest(bucket.name, key), etag)
        headers = remove(store, call, bucket, key, version)
    except S3Error as exc:
        return ("Error", [*named, ("Code", exc.code), ("Message", exc.message)])
    if "x-amz-delete-marker" in headers:
        named += [("DeleteMarker", "true"), ("DeleteMarkerVersionId", headers["x-amz-version-id"])]
    return ("Deleted", named)


def _check_etag(current: Stored | None, etag: str) -> None:
    if current is None or current.is_marker:
        raise S3Error("NoSuchKey")
    if not matches(etag, current.etag):
        raise S3Error("PreconditionFailed")
