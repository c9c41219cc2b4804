"""Lists what is stored under a prefix, every version of it, and the multipart uploads that nobody has finished.

Obeys ListObjectVersions, ListObjectsV2 and ListMultipartUploads of the Amazon S3 API Reference. Versions are asked for
first: in a bucket that keeps none the answer is the same, each version called "null". Cloudflare R2 and others have no
such call and answer 501; then nothing but the latest exists, and ListObjectsV2 tells it.

Keys are asked for percent-encoded, because a neighbour's key may hold characters that XML has no way to spell. How a
marker is spelled then differs: on AWS as the keys are, on Ceph 16.2 never encoded, and Ceph encodes the keys of uploads
without saying so (measured). So a marker is read by comparing it with the last key of its page.

Headers signed: those of every call (`caller.py`). Permissions of the credential, `remove`: s3:ListBucketVersions and
s3:ListBucketMultipartUploads, and s3:ListBucket for ListObjectsV2.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element

from broker.domain.errors import StoreUnavailable
from broker.ports import ListedObject, UnfinishedUpload
from broker.storage.s3 import xml
from broker.storage.s3.caller import S3Caller, trouble
from broker.storage.s3.credentials import Credentials

PAGE_SIZE: Final = 1_000  # ListObjectVersions, ListObjectsV2, ListMultipartUploads: "up to 1,000"

_LACKS_VERSIONS: Final = frozenset({405, 501})  # R2 "S3 API compatibility": ListObjectVersions is not implemented

Query = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class S3ObjectLister:
    """`prefix` is the destination's, without the slash behind it."""

    caller: S3Caller
    credentials: Credentials
    prefix: str
    page_size: int = PAGE_SIZE

    async def objects(self) -> AsyncIterator[Sequence[ListedObject]]:
        marker: Query = ()
        while True:
            status, body = await self._page([("versions", ""), ("max-keys", str(self.page_size)), *marker])
            if status in _LACKS_VERSIONS and not marker:
                async for listed in self._latest():
                    yield listed
                return
            root = _root(status, body, "ListVersionsResult")
            # A DeleteMarker is nothing that is stored, but a page may end with one.
            entries = [each for each in root if xml.local(each.tag) in {"Version", "DeleteMarker"}]
            yield [_object(root, each) for each in entries if xml.local(each.tag) == "Version"]
            marker = _next(root, entries, marker, id_marker=("version-id-marker", "NextVersionIdMarker"))
            if not marker:
                return

    async def uploads(self) -> AsyncIterator[Sequence[UnfinishedUpload]]:
        marker: Query = ()
        while True:
            status, body = await self._page([("uploads", ""), ("max-uploads", str(self.page_size)), *marker])
            root = _root(status, body, "ListMultipartUploadsResult")
            entries = root.findall("{*}Upload")
            yield [_upload(each) for each in entries]
            marker = _next(root, entries, marker, id_marker=("upload-id-marker", "NextUploadIdMarker"))
            if not marker:
                return

    async def _latest(self) -> AsyncIterator[Sequence[ListedObject]]:
        token = ""
        while True:
            after = [("continuation-token", token)] if token else []
            status, body = await self._page([("list-type", "2"), ("max-keys", str(self.page_size)), *after])
            root = _root(status, body, "ListBucketResult")
            yield [_object(root, each) for each in root.iterfind("{*}Contents")]
            if xml.text(root, "IsTruncated") != "true":
                return
            following = root.findtext("{*}NextContinuationToken") or ""
            if following in {"", token}:
                raise _unreadable("ListObjectsV2")
            token = following

    async def _page(self, query: Query) -> tuple[int, bytes]:
        shared = [("encoding-type", "url"), ("prefix", f"{self.prefix}/" if self.prefix else "")]
        answer = await self.caller.call("GET", "", self.credentials, query=[*query, *shared])
        return answer.status, answer.body


def _root(status: int, body: bytes, name: str) -> Element:
    if status != 200:
        raise trouble(status, xml.error_code(body))
    try:
        return xml.parse(body, name)
    except xml.NotXml as exc:
        raise _unreadable(name) from exc


def _object(root: Element, entry: Element) -> ListedObject:
    key, version = entry.findtext("{*}Key") or "", xml.text(entry, "VersionId")
    try:
        return ListedObject(
            key=unquote_plus(key) if _is_encoded(root) else key,
            size_bytes=xml.number(entry, "Size"),
            etag=xml.etag(xml.text(entry, "ETag")),
            version=None if version in {"", "null"} else version,  # "null" pins nothing, see `store.py`
            is_latest=xml.text(entry, "IsLatest") != "false",
            last_modified=_moment(xml.text(entry, "LastModified")),
        )
    except ValueError as exc:
        raise _unreadable(xml.local(root.tag)) from exc


def _upload(entry: Element) -> UnfinishedUpload:
    """Decoded whether the store said so or not: who acts on it asks again by key, and finds nothing if it was wrong."""
    try:
        return UnfinishedUpload(
            key=unquote_plus(entry.findtext("{*}Key") or ""),
            upload_id=xml.text(entry, "UploadId"),
            initiated=_moment(xml.text(entry, "Initiated")),
        )
    except ValueError as exc:
        raise _unreadable("ListMultipartUploadsResult") from exc


def _next(root: Element, entries: Sequence[Element], before: Query, *, id_marker: tuple[str, str]) -> Query:
    """What the next page is asked for with; empty after the last one."""
    if xml.text(root, "IsTruncated") != "true":
        return ()
    key, last = root.findtext("{*}NextKeyMarker") or "", (entries[-1].findtext("{*}Key") or "") if entries else ""
    if key == last or (key != unquote_plus(last) and _is_encoded(root)):
        key = unquote_plus(key)
    name, element = id_marker
    following = [("key-marker", key), (name, xml.text(root, element))]
    if not key or following == list(before):
        raise _unreadable(xml.local(root.tag))
    return following


def _is_encoded(root: Element) -> bool:
    return xml.text(root, "EncodingType") == "url"


def _moment(text: str) -> datetime:
    """:raises ValueError: not a moment."""
    at = datetime.fromisoformat(text)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _unreadable(what: str) -> StoreUnavailable:
    return StoreUnavailable(f"the store answers with something that is no {what}")
