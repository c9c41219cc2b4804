"""CompleteMultipartUpload: hold the named parts to every rule, then make them one object in one commit.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html; for checksums of the whole,
userguide/checking-object-integrity.html. Nothing is copied: the object's segments are the parts' blobs.
"""

import base64
import hashlib
import itertools
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from emulators import checksums
from emulators.s3 import body
from emulators.s3.catalogue import NULL_VERSION, Bucket, Checksum, Part, Stored, Upload
from emulators.s3.conditions import check_write
from emulators.s3.context import XML, Call, Reply, Store, quoted, xml_reply
from emulators.s3.errors import S3Error
from emulators.s3.keeping import etag
from emulators.s3.multipart import MAX_PARTS, bucket_for, find_upload
from emulators.s3.objects import check_conflict, write_headers
from emulators.s3.xml import Element, Node, document, parse

MIN_PART_BYTES: Final = 5 * 2**20  # qfacts: 5 MiB to 5 GiB, no minimum on the last part
MAX_OBJECT_BYTES: Final = 5 * 2**40


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """A part as the completion names it."""

    number: int
    etag: str
    checksums: dict[str, str]

    @classmethod
    def parse(cls, element: Element) -> "_Named":
        number, etag = element.one("PartNumber") or "", element.one("ETag") or ""
        if not number.isdecimal() or not etag:
            raise S3Error("MalformedXML")
        given = {name: value for name in checksums.CHECKSUMS if (value := element.one(f"Checksum{name.upper()}"))}
        return cls(number=int(number[:10]), etag=etag.strip('"'), checksums=given)


async def complete(store: Store, call: Call) -> Reply:
    bucket = bucket_for(store, call, "s3:PutObject")
    upload_id = call.request.params.get("uploadId", "")
    plan = body.plan(call.request, call.signed, max_bytes=body.MAX_DOCUMENT_BYTES, is_document=True)
    request_body = await store.intake.document(call.http, plan)
    if (again := store.completed.reply(f"{bucket.name}/{call.key}/{upload_id}")) is not None:
        return again
    bucket, upload = find_upload(store, call, "s3:PutObject")
    named = [_Named.parse(each) for each in parse(request_body, "CompleteMultipartUpload").all("Part")]
    parts = _chosen(upload, named, store.catalogue.parts(upload.id))
    check_write(call.request, store.catalogue.latest(bucket.name, call.key))
    check_conflict(store, call)
    if store.faults.hits("complete_error"):
        return Reply(headers={"Content-Type": XML}, body=_late_error(call))
    stored = _assemble(store, call, bucket, upload, parts)
    store.blobs.remove(store.catalogue.complete(upload, stored))
    store.notifier.publish(call.event("ObjectCreated:CompleteMultipartUpload", bucket, call.key, stored))
    reply = _completed(call, bucket, stored)
    store.completed.remember(f"{bucket.name}/{call.key}/{upload_id}", reply)
    return reply


def _late_error(call: Call) -> bytes:
    """API_CompleteMultipartUpload: "A request could fail after the initial 200 OK response has been sent"."""
    error = S3Error("InternalError")
    nodes: list[Node] = [("Code", error.code), ("Message", error.message), ("RequestId", call.request_id)]
    return document("Error", nodes, namespace=None)


def _chosen(upload: Upload, named: Sequence[_Named], held: Sequence[Part]) -> list[Part]:
    """The parts that the client names, held to every rule.

    :raises S3Error: MalformedXML, InvalidPartOrder, InvalidPart, EntityTooSmall, InvalidRequest.
    """
    if not 1 <= len(named) <= MAX_PARTS:
        raise S3Error("MalformedXML")
    numbers = [each.number for each in named]
    if any(later <= earlier for earlier, later in itertools.pairwise(numbers)):
        raise S3Error("InvalidPartOrder", fields={"UploadId": upload.id})
    by_number = {part.number: part for part in held}
    chosen = [_match(upload, each, by_number.get(each.number)) for each in named]
    for part in chosen[:-1]:
        if part.size_bytes < MIN_PART_BYTES:
            raise S3Error(
                "EntityTooSmall",
                fields={
                    "ProposedSize": str(part.size_bytes),
                    "MinSizeAllowed": str(MIN_PART_BYTES),
                    "PartNumber": str(part.number),
                    "ETag": part.etag,
                },
            )
    return chosen


def _match(upload: Upload, named: _Named, part: Part | None) -> Part:
    if part is None or named.etag != part.etag:
        raise _invalid_part(upload, named)
    held = part.checksum
    if upload.kind == "COMPOSITE" and (upload.algorithm or "") not in named.checksums:
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using a {upload.algorithm} checksum. The complete request must include the "
            f"checksum for each part. It was missing for part {named.number} in the request.",
        )
    if any(held is None or held.algorithm != name or held.value != value for name, value in named.checksums.items()):
        raise _invalid_part(upload, named)
    return part


def _invalid_part(upload: Upload, named: _Named) -> S3Error:
    fields = {"UploadId": upload.id, "PartNumber": str(named.number), "ETag": named.etag}
    return S3Error("InvalidPart", fields=fields)


def _assemble(store: Store, call: Call, bucket: Bucket, upload: Upload, parts: Sequence[Part]) -> Stored:
    size = sum(part.size_bytes for part in parts)
    expected = call.request.header("x-amz-mp-object-size")
    if expected is not None and expected != str(size):
        raise S3Error("InvalidRequest", f"The provided 'x-amz-mp-object-size' header value {expected} does not match.")
    if size > MAX_OBJECT_BYTES:
        raise S3Error("EntityTooLarge", fields={"ProposedSize": str(size), "MaxSizeAllowed": str(MAX_OBJECT_BYTES)})
    checksum = _whole_checksum(upload, parts)
    _check_whole(call, checksum)
    digests = b"".join(bytes.fromhex(part.etag) for part in parts)
    return msgspec.structs.replace(
        upload.template,
        version=uuid.uuid4().hex if bucket.versioning == "Enabled" else NULL_VERSION,
        seq=store.catalogue.next_seq(),
        modified=time.time(),
        size_bytes=size,
        etag=f"{etag(upload.template.headers, hashlib.md5(digests, usedforsecurity=False).hexdigest())}-{len(parts)}",
        checksum=checksum,
        segments=tuple(segment for part in parts for segment in part.segments),
        part_sizes=tuple(part.size_bytes for part in parts),
    )


def _whole_checksum(upload: Upload, parts: Sequence[Part]) -> Checksum | None:
    algorithm = upload.algorithm
    if algorithm is None:
        return None
    pairs = [(base64.b64decode(part.checksum.value), part.size_bytes) for part in parts if part.checksum is not None]
    if upload.kind == "FULL_OBJECT":
        value = base64.b64encode(checksums.combine(algorithm, pairs)).decode()
        return Checksum(algorithm=algorithm, value=value)
    running = checksums.new(algorithm)
    running.update(b"".join(digest for digest, _ in pairs))
    value = f"{base64.b64encode(running.digest()).decode()}-{len(parts)}"
    return Checksum(algorithm=algorithm, value=value, kind="COMPOSITE")


def _check_whole(call: Call, checksum: Checksum | None) -> None:
    """A checksum in the completion's headers is of the object, not of the document that carries the parts."""
    for name in checksums.CHECKSUMS:
        given = call.request.header(f"x-amz-checksum-{name}")
        if given is None:
            continue
        if checksum is None or checksum.algorithm != name or given.split("-")[0] != checksum.value.split("-")[0]:
            raise S3Error("BadDigest", f"The {name.upper()} you specified did not match the calculated checksum.")


def _completed(call: Call, bucket: Bucket, stored: Stored) -> Reply:
    nodes: list[Node] = [
        ("Location", f"http://{call.request.header('host')}/{bucket.name}/{call.key}"),
        ("Bucket", bucket.name),
        ("Key", call.key),
        ("ETag", quoted(stored.etag)),
    ]
    if stored.checksum is not None:
        nodes.append((f"Checksum{stored.checksum.algorithm.upper()}", stored.checksum.value))
        nodes.append(("ChecksumType", stored.checksum.kind))
    headers = write_headers(stored)
    headers.pop("ETag")
    return xml_reply("CompleteMultipartUploadResult", nodes, headers)
