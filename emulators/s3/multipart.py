"""Multipart uploads: create, upload part, list, abort. How they are completed: `completion.py`.

Pages under https://docs.aws.amazon.com/AmazonS3/latest/API/: API_CreateMultipartUpload.html, API_UploadPart.html,
API_ListParts.html and so on; limits from userguide/qfacts.html.
"""

import time
import uuid
from typing import Final

from emulators import checksums
from emulators.blobs import Segment
from emulators.s3 import body
from emulators.s3.attributes import attributes
from emulators.s3.catalogue import Bucket, Checksum, Part, Upload
from emulators.s3.conditions import byte_range
from emulators.s3.context import Call, Reply, Store, quoted, xml_reply
from emulators.s3.errors import S3Error
from emulators.s3.keeping import SSE, etag, refuse_encryption
from emulators.s3.listing import MAX_KEYS, collect, owner_node, read_query
from emulators.s3.objects import checksum_headers, copy_result, copy_source, describe, iso, require_extras
from emulators.s3.xml import Node

MAX_PARTS: Final = 10_000  # qfacts: part numbers 1 to 10,000 (inclusive)


def bucket_for(store: Store, call: Call, action: str) -> Bucket:
    bucket = store.bucket(call.request.bucket or "")
    call.access(bucket).require(action, call.key)
    return bucket


def find_upload(store: Store, call: Call, action: str) -> tuple[Bucket, Upload]:
    bucket = bucket_for(store, call, action)
    upload_id = call.request.params.get("uploadId", "")
    upload = store.catalogue.upload(bucket.name, call.key, upload_id)
    if upload is None:
        raise S3Error("NoSuchUpload", fields={"UploadId": upload_id})
    return bucket, upload


async def create(store: Store, call: Call) -> Reply:
    bucket = bucket_for(store, call, "s3:PutObject")
    attrs = attributes(call.request, bucket, region=store.settings.region)
    require_extras(call.access(bucket), call.request, attrs, call.key)
    algorithm, kind = _declared(call)
    upload = Upload(
        id=uuid.uuid4().hex,
        bucket=bucket.name,
        key=call.key,
        created=time.time(),
        algorithm=algorithm,
        kind=kind,
        template=describe(store, call, bucket, attrs),
    )
    store.catalogue.put_upload(upload)
    headers = {"x-amz-checksum-algorithm": algorithm.upper(), "x-amz-checksum-type": kind} if algorithm else {}
    nodes: list[Node] = [("Bucket", bucket.name), ("Key", call.key), ("UploadId", upload.id)]
    return xml_reply("InitiateMultipartUploadResult", nodes, headers)


def _declared(call: Call) -> tuple[str | None, str]:
    """The checksum of the upload. Which algorithm may be of which type: "Checking object integrity", table of types."""
    algorithm, kind = call.request.header("x-amz-checksum-algorithm"), call.request.header("x-amz-checksum-type")
    if algorithm is None:
        if kind is not None:
            raise S3Error("InvalidRequest", "The x-amz-checksum-type header can only be used with an algorithm.")
        return None, ""
    algorithm = algorithm.lower()
    if algorithm not in checksums.CHECKSUMS:
        raise S3Error("InvalidRequest", "Checksum algorithm provided is unsupported.")
    kind = kind or ("FULL_OBJECT" if algorithm == "crc64nvme" else "COMPOSITE")
    is_possible = algorithm in checksums.CRCS if kind == "FULL_OBJECT" else algorithm != "crc64nvme"
    if kind not in {"FULL_OBJECT", "COMPOSITE"} or not is_possible:
        raise S3Error("InvalidRequest", f"The {kind} checksum type cannot be used with the {algorithm} algorithm.")
    return algorithm, kind


def _number(call: Call) -> int:
    text = call.request.params.get("partNumber", "")
    if not text.isdecimal() or len(text) > 5 or not 1 <= int(text) <= MAX_PARTS:
        raise S3Error(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {MAX_PARTS}, inclusive",
            fields={"ArgumentName": "partNumber", "ArgumentValue": text},
        )
    return int(text)


async def upload_part(store: Store, call: Call) -> Reply:
    number = _number(call)
    refuse_encryption(call.request)
    _, upload = find_upload(store, call, "s3:PutObject")
    plan = body.plan(call.request, call.signed, wants=upload.algorithm)
    _check_algorithm(upload, plan.checksum[0] if plan.checksum else plan.trailer)
    received = await store.intake.receive(call.http, plan)
    try:
        # No await from here on: an upload that was aborted or completed meanwhile takes no part any more.
        _, upload = find_upload(store, call, "s3:PutObject")
        segments = store.blobs.adopt(received.spool)
    except S3Error:
        await received.spool.discard()
        raise
    checksum = received.checksum or received.computed(upload.algorithm)
    part = _part(number, segments, etag(upload.template.headers, received.md5.hex()), checksum)
    store.blobs.remove(store.catalogue.put_part(upload.id, part))
    headers = checksum_headers(part.checksum) if received.checksum or upload.algorithm else {}
    headers.pop("x-amz-checksum-type", None)
    kept = {name: value for name, value in upload.template.headers.items() if name.startswith(SSE)}
    return Reply(headers={"ETag": quoted(part.etag), **kept, **headers})


def _part(number: int, segments: tuple[Segment, ...], etag: str, checksum: Checksum | None) -> Part:
    size = sum(segment.size_bytes for segment in segments)
    return Part(number=number, size_bytes=size, etag=etag, modified=time.time(), checksum=checksum, segments=segments)


def _check_algorithm(upload: Upload, given: str | None) -> None:
    is_missing = given is None and upload.kind == "COMPOSITE"
    is_other = given is not None and upload.algorithm is not None and given != upload.algorithm
    if is_missing or is_other:
        raise S3Error(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {upload.algorithm}, "
            f"actual checksum Type: {given or 'null'}",
        )


async def upload_part_copy(store: Store, call: Call) -> Reply:
    """A part from bytes that the store has. They are read again: a part is a blob of its own, with its own digest."""
    number = _number(call)
    _, upload = find_upload(store, call, "s3:PutObject")
    source = copy_source(store, call)
    wanted = call.request.header("x-amz-copy-source-range")
    ranged = byte_range(wanted, source.size_bytes)
    if wanted is not None and ranged is None:
        raise S3Error("InvalidArgument", "The x-amz-copy-source-range value must be of the form bytes=first-last")
    start, length = ranged or (0, source.size_bytes)
    spool = store.blobs.spool({"md5", upload.algorithm or "md5"})
    try:
        with store.blobs.reading(source.segments):
            for piece in store.blobs.read(source.segments, start, length, store.faults.step_bytes):
                await spool.write(piece)
        digests = await spool.finish()
        _, upload = find_upload(store, call, "s3:PutObject")
        segments = store.blobs.adopt(spool)
    except BaseException:
        await spool.discard()
        raise
    part = _part(number, segments, digests["md5"].hex(), body.checksum_of(upload.algorithm, digests))
    store.blobs.remove(store.catalogue.put_part(upload.id, part))
    return xml_reply("CopyPartResult", copy_result(part.etag, part.modified))


async def list_parts(store: Store, call: Call) -> Reply:
    bucket, upload = find_upload(store, call, "s3:ListMultipartUploadParts")
    params = call.request.params
    marker, limit = params.get("part-number-marker") or "0", params.get("max-parts") or str(MAX_KEYS)
    if not (marker.isdecimal() and limit.isdecimal() and len(marker + limit) < 20):
        raise S3Error("InvalidArgument", fields={"ArgumentName": "max-parts"})
    count = min(int(limit), MAX_KEYS)
    parts = store.catalogue.parts(upload.id, int(marker), count + 1)
    shown = parts[:count]
    nodes: list[Node] = [
        ("Bucket", bucket.name),
        ("Key", call.key),
        ("UploadId", upload.id),
        owner_node("Initiator", upload.template.owner),
        owner_node("Owner", upload.template.owner),
        ("StorageClass", upload.template.headers.get("x-amz-storage-class", "STANDARD")),
        ("PartNumberMarker", marker),
        ("NextPartNumberMarker", str(shown[-1].number) if shown else marker),
        ("MaxParts", str(count)),
        ("IsTruncated", "true" if len(parts) > len(shown) else "false"),
    ]
    if upload.algorithm:
        nodes += [("ChecksumAlgorithm", upload.algorithm.upper()), ("ChecksumType", upload.kind)]
    return xml_reply("ListPartsResult", nodes + [_part_node(part) for part in shown])


def _part_node(part: Part) -> Node:
    nodes: list[Node] = [
        ("PartNumber", str(part.number)),
        ("LastModified", iso(part.modified)),
        ("ETag", quoted(part.etag)),
        ("Size", str(part.size_bytes)),
    ]
    if part.checksum is not None:
        nodes.append((f"Checksum{part.checksum.algorithm.upper()}", part.checksum.value))
    return ("Part", nodes)


async def list_uploads(store: Store, call: Call) -> Reply:
    query = read_query(store, call, "s3:ListBucketMultipartUploads", "max-uploads")
    params = call.request.params
    key_marker, id_marker = params.get("key-marker", ""), params.get("upload-id-marker", "")

    def fetch(position: bytes, count: int) -> list[tuple[str, Upload]]:
        key, _, upload_id = position.partition(b"\0")
        rows = store.catalogue.uploads(query.bucket.name, query.prefix, (key, upload_id.decode()), count)
        return [(f"{row.key}\0{row.id}", row) for row in rows]

    page = collect(
        fetch,
        prefix=query.prefix,
        delimiter=query.delimiter,
        after=f"{key_marker}\0{id_marker or '~'}".encode() if key_marker else b"",
        limit=query.limit,
    )
    nodes: list[Node] = [("Bucket", query.bucket.name), ("KeyMarker", query.name(key_marker))]
    nodes += [("UploadIdMarker", id_marker), *query.shared_nodes("MaxUploads")]
    nodes.append(("IsTruncated", "false" if page.after is None else "true"))
    if page.after is not None:
        key, _, upload_id = page.after.partition(b"\0")
        nodes.append(("NextKeyMarker", query.name(key.rstrip(b"\xff").decode())))
        nodes.append(("NextUploadIdMarker", upload_id.decode()))
    nodes += [_upload_node(query.name(upload.key), upload) for _, upload in page.entries]
    return xml_reply("ListMultipartUploadsResult", nodes + query.prefix_nodes(page.prefixes))


def _upload_node(name: str, upload: Upload) -> Node:
    nodes: list[Node] = [
        ("Key", name),
        ("UploadId", upload.id),
        owner_node("Initiator", upload.template.owner),
        owner_node("Owner", upload.template.owner),
        ("StorageClass", upload.template.headers.get("x-amz-storage-class", "STANDARD")),
        ("Initiated", iso(upload.created)),
    ]
    return ("Upload", nodes)


async def abort(store: Store, call: Call) -> Reply:
    _, upload = find_upload(store, call, "s3:AbortMultipartUpload")
    store.blobs.remove(store.catalogue.abort(upload.id))
    return Reply(status=204)
