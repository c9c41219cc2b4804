"""Operations on objects: put, get, head, copy, delete, tags.

Each follows its page under https://docs.aws.amazon.com/AmazonS3/latest/API/ (API_PutObject.html and so on).
"""

import time
import uuid
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, unquote_plus

import msgspec

from emulators.blobs import Segment
from emulators.s3 import body
from emulators.s3.access import Access
from emulators.s3.attributes import Attributes, attributes, check_tags
from emulators.s3.catalogue import NULL_VERSION, Bucket, Checksum, Stored
from emulators.s3.conditions import byte_range, check_copy_source, check_read, check_write
from emulators.s3.context import Call, Reply, Slice, Store, http_date, quoted, xml_reply
from emulators.s3.errors import S3Error
from emulators.s3.keeping import BUCKET_KEY, KEY_ID, SSE, check_readable, etag, refuse_encryption
from emulators.s3.request import S3Request
from emulators.s3.xml import Element, Node, parse

OVERRIDES: Final = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
)


def describe(
    store: Store, call: Call, bucket: Bucket, attrs: Attributes, *, segments: tuple[Segment, ...] = (), etag: str = ""
) -> Stored:
    """A new version of an object, not yet in the catalogue."""
    return Stored(
        version=uuid.uuid4().hex if bucket.versioning == "Enabled" else NULL_VERSION,
        seq=store.catalogue.next_seq(),
        modified=time.time(),
        owner=call.principal,
        size_bytes=sum(segment.size_bytes for segment in segments),
        etag=etag,
        headers=attrs.headers,
        metadata=attrs.metadata,
        tags=attrs.tags,
        segments=segments,
        is_public=attrs.is_public,
    )


def write_headers(stored: Stored) -> dict[str, str]:
    """What every successful write answers."""
    headers = {"ETag": quoted(stored.etag), **checksum_headers(stored.checksum)}
    if stored.version_id is not None:
        headers["x-amz-version-id"] = stored.version_id
    return headers | {name: stored.headers[name] for name in (SSE, KEY_ID, BUCKET_KEY) if name in stored.headers}


def checksum_headers(checksum: Checksum | None) -> dict[str, str]:
    if checksum is None:
        return {}
    return {f"x-amz-checksum-{checksum.algorithm}": checksum.value, "x-amz-checksum-type": checksum.kind}


async def put_object(store: Store, call: Call) -> Reply:
    request, key = call.request, call.key
    bucket = store.bucket(request.bucket or "")
    access = call.access(bucket)
    access.require("s3:PutObject", key)
    attrs = attributes(request, bucket, region=store.settings.region)
    require_extras(access, request, attrs, key)
    plan = body.plan(request, call.signed)
    check_write(request, store.catalogue.latest(bucket.name, key))
    received = await store.intake.receive(call.http, plan)
    try:
        # No await from here to the commit: what the condition saw is what the write replaces.
        bucket = store.bucket(bucket.name)
        check_write(request, store.catalogue.latest(bucket.name, key))
        check_conflict(store, call)
        segments = store.blobs.adopt(received.spool)
    except S3Error:
        await received.spool.discard()
        raise
    stored = describe(store, call, bucket, attrs, segments=segments, etag=etag(attrs.headers, received.md5.hex()))
    stored = msgspec.structs.replace(stored, checksum=received.checksum)
    store.blobs.remove(store.catalogue.put(bucket.name, key, stored))
    store.notifier.publish(call.event("ObjectCreated:Put", bucket, key, stored))
    return Reply(headers=write_headers(stored))


def require_extras(access: Access, request: S3Request, attrs: Attributes, key: str) -> None:
    """PutObject, "Permissions": tags and an ACL are rights of their own.

    :raises S3Error: AccessDenied.
    """
    if attrs.tags:
        access.require("s3:PutObjectTagging", key)
    if request.header("x-amz-acl") is not None:
        access.require("s3:PutObjectAcl", key)


def check_conflict(store: Store, call: Call) -> None:
    """A create-only write may lose a race that nobody won: 409, and the client sends again. Here only on demand.

    :raises S3Error: ConditionalRequestConflict.
    """
    if call.request.header("if-none-match") is not None and store.faults.hits("conflict"):
        raise S3Error("ConditionalRequestConflict")


def find(store: Store, call: Call, action: str, *, name: str, key: str, version: str | None) -> Stored:
    """The version that a read names, if the caller may read it.

    :raises S3Error: NoSuchKey only to callers that may list; others cannot tell missing from forbidden.
    """
    bucket, catalogue = store.bucket(name), store.catalogue
    stored = catalogue.latest(name, key) if version is None else catalogue.version(name, key, version)
    access = call.access(bucket)
    is_believed = not bucket.has_block("IgnorePublicAcls")
    is_public = stored is not None and stored.is_public and is_believed and action == "s3:GetObject"
    if not is_public and not access.allows(action if version is None else f"{action}Version", key):
        raise S3Error("AccessDenied")
    if stored is None and not access.allows("s3:ListBucket"):
        raise S3Error("AccessDenied")
    if stored is None:
        raise S3Error("NoSuchVersion" if version is not None else "NoSuchKey", fields={"Key": key})
    if stored.is_marker:
        raise _marker(stored, key, is_named=version is not None)
    return stored


def find_named(store: Store, call: Call, action: str) -> Stored:
    """The version that the request's own path names."""
    name, version = call.request.bucket or "", call.request.params.get("versionId")
    return find(store, call, action, name=name, key=call.key, version=version)


def _marker(stored: Stored, key: str, *, is_named: bool) -> S3Error:
    headers = {"x-amz-delete-marker": "true", "x-amz-version-id": stored.version}
    return S3Error("MethodNotAllowed" if is_named else "NoSuchKey", fields={"Key": key}, headers=headers)


async def get_object(store: Store, call: Call) -> Reply:
    refuse_encryption(call.request)
    stored = find_named(store, call, "s3:GetObject")
    check_read(call.request, stored)
    if call.request.method == "GET":
        check_readable(stored.headers)
    part = _part_range(call.request, stored)
    ranged = part or byte_range(call.request.header("range"), stored.size_bytes)
    start, length = ranged or (0, stored.size_bytes)
    headers = _read_headers(call, stored, has_checksum=ranged is None) | {"Content-Length": str(length)}
    if ranged is not None:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{stored.size_bytes}"
    if part is not None:
        headers["x-amz-mp-parts-count"] = str(len(stored.part_sizes) or 1)
    return Reply(
        status=200 if ranged is None else 206,
        headers=headers,
        body=Slice(segments=stored.segments, start=start, length=length),
    )


def _part_range(request: S3Request, stored: Stored) -> tuple[int, int] | None:
    text = request.params.get("partNumber")
    if text is None:
        return None
    sizes = stored.part_sizes or (stored.size_bytes,)
    if not text.isdecimal() or not 1 <= int(text) <= len(sizes):
        raise S3Error("InvalidRange", "The requested partnumber is not satisfiable")
    return sum(sizes[: int(text) - 1]), sizes[int(text) - 1]


def _read_headers(call: Call, stored: Stored, *, has_checksum: bool) -> dict[str, str]:
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": quoted(stored.etag),
        "Last-Modified": http_date(stored.modified),
        **stored.headers,
        **{f"x-amz-meta-{name}": value for name, value in stored.metadata.items()},
    }
    if stored.tags:
        headers["x-amz-tagging-count"] = str(len(stored.tags))
    if stored.version_id is not None:
        headers["x-amz-version-id"] = stored.version_id
    if has_checksum and (call.request.header("x-amz-checksum-mode") or "").upper() == "ENABLED":
        headers |= checksum_headers(stored.checksum)
    return headers | _overrides(call)


def _overrides(call: Call) -> dict[str, str]:
    """`response-content-type` and its kin, which only a signer may ask for."""
    params = call.request.params
    found = {name: params[f"response-{name}"] for name in OVERRIDES if f"response-{name}" in params}
    if found and call.signed is None:
        raise S3Error("InvalidRequest", "Request specific response headers cannot be used for anonymous GET requests.")
    return found


async def delete_object(store: Store, call: Call) -> Reply:
    bucket, version = store.bucket(call.request.bucket or ""), call.request.params.get("versionId")
    if call.request.header("if-match") is not None:
        # First, or the answer to a condition would tell a stranger what is there.
        _require_delete(call, bucket, call.key, version)
        check_write(call.request, store.catalogue.latest(bucket.name, call.key))
    return Reply(status=204, headers=remove(store, call, bucket, call.key, version))


def remove(store: Store, call: Call, bucket: Bucket, key: str, version: str | None) -> dict[str, str]:
    """Delete as S3 does: a named version for good, else a marker where versions are kept.

    :raises S3Error: AccessDenied.
    """
    _require_delete(call, bucket, key, version)
    if version is None and bucket.versioning:
        return _mark(store, call, bucket, key)
    wanted = version or NULL_VERSION
    stored = store.catalogue.version(bucket.name, key, wanted)
    store.blobs.remove(store.catalogue.remove(bucket.name, key, wanted))
    if stored is None:
        return {} if version is None else {"x-amz-version-id": version}
    gone = msgspec.structs.replace(stored, seq=store.catalogue.next_seq(), modified=time.time())
    store.notifier.publish(call.event("ObjectRemoved:Delete", bucket, key, gone))
    headers = {} if version is None else {"x-amz-version-id": version}
    return headers | ({"x-amz-delete-marker": "true"} if stored.is_marker else {})


def _require_delete(call: Call, bucket: Bucket, key: str, version: str | None) -> None:
    call.access(bucket).require("s3:DeleteObject" if version is None else "s3:DeleteObjectVersion", key)


def _mark(store: Store, call: Call, bucket: Bucket, key: str) -> dict[str, str]:
    nothing = Attributes(headers={}, metadata={}, tags={}, is_public=False)
    marker = msgspec.structs.replace(describe(store, call, bucket, nothing), is_marker=True)
    store.blobs.remove(store.catalogue.put(bucket.name, key, marker))
    store.notifier.publish(call.event("ObjectRemoved:DeleteMarkerCreated", bucket, key, marker))
    return {"x-amz-delete-marker": "true", "x-amz-version-id": marker.version}


async def copy_object(store: Store, call: Call) -> Reply:
    request, key = call.request, call.key
    bucket = store.bucket(request.bucket or "")
    call.access(bucket).require("s3:PutObject", key)
    source = copy_source(store, call)
    attrs = _copied_attributes(bucket, request, source, region=store.settings.region)
    check_write(request, store.catalogue.latest(bucket.name, key))
    stored = describe(store, call, bucket, attrs, segments=store.blobs.link(source.segments), etag=source.etag)
    stored = msgspec.structs.replace(stored, checksum=source.checksum)
    store.blobs.remove(store.catalogue.put(bucket.name, key, stored))
    store.notifier.publish(call.event("ObjectCreated:Copy", bucket, key, stored))
    return xml_reply("CopyObjectResult", copy_result(stored.etag, stored.modified), write_headers(stored))


def copy_result(etag: str, modified: float) -> list[Node]:
    return [("LastModified", iso(modified)), ("ETag", quoted(etag))]


def iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1000):03d}Z"


def copy_source(store: Store, call: Call) -> Stored:
    """The version that `x-amz-copy-source` names; the caller must be able to read it.

    :raises S3Error: InvalidArgument, AccessDenied, NoSuchKey, PreconditionFailed.
    """
    text = call.request.header("x-amz-copy-source") or ""
    path, _, query = text.partition("?")
    name, _, key = unquote(path.removeprefix("/")).partition("/")
    if not name or not key:
        raise S3Error("InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
    version = unquote_plus(query.removeprefix("versionId=")) if query else None
    stored = find(store, call, "s3:GetObject", name=name, key=key, version=version)
    check_copy_source(call.request, stored)
    return stored


def _copied_attributes(bucket: Bucket, request: S3Request, source: Stored, *, region: str) -> Attributes:
    """Metadata and tags come along unless a directive says REPLACE; an ACL never does."""
    given = attributes(request, bucket, region=region)
    is_replaced = (request.header("x-amz-metadata-directive") or "COPY").upper() == "REPLACE"
    is_retagged = (request.header("x-amz-tagging-directive") or "COPY").upper() == "REPLACE"
    if not is_replaced and request.header("x-amz-copy-source") in {request.resource, request.resource[1:]}:
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the "
            "object's metadata, storage class, website redirect location or encryption attributes.",
        )
    return Attributes(
        headers=given.headers if is_replaced else source.headers,
        metadata=given.metadata if is_replaced else source.metadata,
        tags=given.tags if is_retagged else source.tags,
        is_public=given.is_public,
    )


async def get_tagging(store: Store, call: Call) -> Reply:
    stored = find_named(store, call, "s3:GetObjectTagging")
    tags: list[Node] = [("Tag", [("Key", key), ("Value", value)]) for key, value in stored.tags.items()]
    return xml_reply("Tagging", [("TagSet", tags)])


async def put_tagging(store: Store, call: Call) -> Reply:
    stored = find_named(store, call, "s3:PutObjectTagging")
    plan = body.plan(call.request, call.signed, max_bytes=body.MAX_DOCUMENT_BYTES)
    tagging = parse(await store.intake.document(call.http, plan), "Tagging")
    return _retag(store, call, stored, _tags_of(tagging), status=200)


async def delete_tagging(store: Store, call: Call) -> Reply:
    return _retag(store, call, find_named(store, call, "s3:DeleteObjectTagging"), {}, status=204)


def _tags_of(tagging: Element) -> Mapping[str, str]:
    found = [tag for tag_set in tagging.all("TagSet") for tag in tag_set.all("Tag")]
    return check_tags([(tag.one("Key") or "", tag.one("Value") or "") for tag in found])


def _retag(store: Store, call: Call, stored: Stored, tags: Mapping[str, str], *, status: int) -> Reply:
    tagged = msgspec.structs.replace(stored, tags=tags)
    store.catalogue.update(call.request.bucket or "", call.key, tagged)
    return Reply(status=status)
