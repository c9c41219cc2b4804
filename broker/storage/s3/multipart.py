"""Opens, lists, completes and aborts multipart uploads. Clients send parts (`parts.py`) and nothing else.

Obeys CreateMultipartUpload, ListParts, CompleteMultipartUpload, AbortMultipartUpload and ListMultipartUploads of the
Amazon S3 API Reference. Headers signed beside those of every call: by create the content type, x-amz-meta-* (the
capsule among them) and how the object is to be kept (`keeping.py`), by complete content-type and if-none-match where
the dialect has it. No checksum algorithm is declared: some stores would then refuse parts without its header, and none
gives a SHA-256 of the whole object.

Permissions of the credentials: `write` needs s3:PutObject (create, part, complete) and s3:ListMultipartUploadParts
under the prefix; `remove` needs s3:AbortMultipartUpload and s3:ListMultipartUploadParts under the prefix, and
s3:ListBucketMultipartUploads on the bucket. On Ceph 16.2 both need s3:ListBucket, too: without it the parts of an
upload that is gone are answered 403 instead of 404. Proved in tests/contracts/storage/s3/test_multipart_rights.py.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import unquote_plus
from xml.sax.saxutils import escape

from broker.domain.errors import StoreUnavailable, Unavailable
from broker.domain.multipart import StoredPart
from broker.domain.objects import UploadSpec
from broker.storage.s3 import xml
from broker.storage.s3.caller import S3Answer, S3Caller, trouble
from broker.storage.s3.credentials import Credentials
from broker.storage.s3.dialects import Dialect
from broker.storage.s3.keeping import AS_THE_BUCKET_SAYS, Keeping
from broker.storage.s3.signer import object_headers

# CompleteMultipartUpload: "could take several minutes to finalize". Below the five that one holder has for it.
COMPLETE_TIMEOUT: Final = timedelta(minutes=4)
# Ours. S3 pages by 1,000 and has 10,000 parts; unfinished uploads of one key are a handful.
MAX_PAGES: Final = 100

# What the store says of parts that were sent again, or vanished, between listing and completing.
_CHANGED_MEANWHILE: Final = frozenset({"InvalidPart", "InvalidPartOrder", "EntityTooSmall"})
# CompleteMultipartUpload: 412 when the key exists, 409 when somebody writes or deletes it at this moment.
_TAKEN: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})


@dataclass(frozen=True, slots=True, kw_only=True)
class S3MultipartUploads:
    caller: S3Caller
    credentials: Credentials
    dialect: Dialect
    keeping: Keeping = AS_THE_BUCKET_SAYS

    async def open(self, key: str, spec: UploadSpec, capsule: str) -> str:
        headers = {**object_headers(spec, capsule), **self.keeping.headers}
        answer = await self.caller.call("POST", key, self.credentials, query=[("uploads", "")], headers=headers)
        if answer.status != 200:
            raise _trouble(answer)
        try:
            upload_id = xml.text(xml.parse(answer.body, "InitiateMultipartUploadResult"), "UploadId")
        except xml.NotXml as exc:
            raise _unreadable("CreateMultipartUpload") from exc
        if not upload_id:
            raise _unreadable("CreateMultipartUpload")
        return upload_id

    async def parts(self, key: str, upload_id: str) -> list[StoredPart] | None:
        return await _parts(self.caller, self.credentials, key, upload_id)

    async def complete(self, key: str, upload_id: str, parts: Sequence[StoredPart]) -> bool:
        headers = {"content-type": "application/xml"}
        if self.dialect.has_conditional_complete:
            headers["if-none-match"] = "*"
        answer = await self.caller.call(
            "POST",
            key,
            self.credentials,
            query=[("uploadId", upload_id)],
            headers=headers,
            body=_completion(parts),
            timeout=COMPLETE_TIMEOUT,
        )
        # Ceph 16.2 answers 500 "already in progress" for an upload that is gone, whoever completed or aborted it.
        if answer.status >= 500 and await self.parts(key, upload_id) is None:
            return False
        return _is_completed(answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3MultipartRemover:
    caller: S3Caller
    credentials: Credentials

    async def open_uploads(self, key: str) -> list[str]:
        # In either spelling: Ceph 16.2 encodes without saying so. An id that is not this key's after all opens nothing.
        return [upload_id async for found, upload_id in self._uploads(key) if key in {found, unquote_plus(found)}]

    async def abort(self, key: str, upload_id: str) -> bool:
        answer = await self.caller.call("DELETE", key, self.credentials, query=[("uploadId", upload_id)])
        if answer.status not in {200, 204} and not _is_gone(answer):
            raise _trouble(answer)
        # AbortMultipartUpload: parts in flight may land all the same; "you should call the ListParts API operation
        # and ensure that the parts list is empty".
        return not await _parts(self.caller, self.credentials, key, upload_id)

    async def _uploads(self, prefix: str) -> AsyncIterator[tuple[str, str]]:
        """Key, as the store spells it, and id of every unfinished upload under a prefix."""
        marker: list[tuple[str, str]] = []
        for _ in range(MAX_PAGES):
            # encoding-type: a neighbour's key may hold characters that XML has no way to spell.
            query = [("uploads", ""), ("encoding-type", "url"), ("prefix", prefix), *marker]
            answer = await self.caller.call("GET", "", self.credentials, query=query)
            if answer.status != 200:
                raise _trouble(answer)
            page = _upload_page(answer.body)
            for upload in page.uploads:
                yield upload
            if page.after is None:
                return
            marker = [("key-marker", page.after[0]), ("upload-id-marker", page.after[1])]
        raise _unreadable("ListMultipartUploads")


@dataclass(frozen=True, slots=True, kw_only=True)
class _UploadPage:
    """`after` continues the listing: the last key and upload id, None on the last page."""

    uploads: list[tuple[str, str]]
    after: tuple[str, str] | None


async def _parts(caller: S3Caller, credentials: Credentials, key: str, upload_id: str) -> list[StoredPart] | None:
    parts: list[StoredPart] = []
    for _ in range(MAX_PAGES):
        # ListParts: "Specifies the part after which listing should begin."
        after = [("part-number-marker", str(parts[-1].number))] if parts else []
        answer = await caller.call("GET", key, credentials, query=[*after, ("uploadId", upload_id)])
        if _is_gone(answer):
            return None
        if answer.status != 200:
            raise _trouble(answer)
        page, is_last = _part_page(answer.body)
        parts += page
        if is_last:
            return parts
        if not page:
            break
    raise _unreadable("ListParts")


def _part_page(body: bytes) -> tuple[list[StoredPart], bool]:
    """Return the parts by number, and whether that was all."""
    try:
        root = xml.parse(body, "ListPartsResult")
        parts = [
            StoredPart(
                number=xml.number(part, "PartNumber"),
                size_bytes=xml.number(part, "Size"),
                etag=xml.etag(xml.text(part, "ETag")),
            )
            for part in root.iterfind("{*}Part")
        ]
    except xml.NotXml as exc:
        raise _unreadable("ListParts") from exc
    return sorted(parts, key=lambda part: part.number), xml.text(root, "IsTruncated") != "true"


def _upload_page(body: bytes) -> _UploadPage:
    try:
        root = xml.parse(body, "ListMultipartUploadsResult")
    except xml.NotXml as exc:
        raise _unreadable("ListMultipartUploads") from exc
    uploads = [(each.findtext("{*}Key") or "", xml.text(each, "UploadId")) for each in root.iterfind("{*}Upload")]
    if xml.text(root, "IsTruncated") != "true":
        return _UploadPage(uploads=uploads, after=None)
    key = root.findtext("{*}NextKeyMarker") or ""
    if xml.text(root, "EncodingType") == "url":
        key = unquote_plus(key)
    return _UploadPage(uploads=uploads, after=(key, xml.text(root, "NextUploadIdMarker")))


def _completion(parts: Sequence[StoredPart]) -> bytes:
    named = "".join(
        f'<Part><PartNumber>{part.number}</PartNumber><ETag>"{escape(part.etag)}"</ETag></Part>' for part in parts
    )
    root = "CompleteMultipartUpload"
    return f'<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{named}</{root}>'.encode()


def _is_completed(answer: S3Answer) -> bool:
    code = xml.error_code(answer.body)
    if _is_gone(answer) or answer.status in {409, 412} or code in _TAKEN or code == "NoSuchUpload":
        return False
    if answer.status == 200 and not code:
        return _is_confirmed(answer.body)
    # "A request could fail after the initial 200 OK response has been sent": the code counts then.
    if code in _CHANGED_MEANWHILE or answer.status == 200:
        raise StoreUnavailable(f"the store answers {answer.status} {code} to CompleteMultipartUpload")
    raise _trouble(answer)


def _is_confirmed(body: bytes) -> bool:
    try:
        xml.parse(body, "CompleteMultipartUploadResult")
    except xml.NotXml as exc:
        raise _unreadable("CompleteMultipartUpload") from exc
    return True


def _is_gone(answer: S3Answer) -> bool:
    return answer.status == 404 and xml.error_code(answer.body) != "NoSuchBucket"


def _trouble(answer: S3Answer) -> Unavailable:
    return trouble(answer.status, xml.error_code(answer.body))


def _unreadable(call: str) -> Unavailable:
    return StoreUnavailable(f"the store answers {call} with something else")
