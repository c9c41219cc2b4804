"""Buckets and objects as the JSON API shows them.

Sources, under https://cloud.google.com/storage/docs/json_api/v1/: objects#resource, buckets#resource. Numbers of 64
bits are strings there. `fields` is not obeyed: the whole resource is always answered.
"""

import base64
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec

from emulators.gcs.records import Bucket, Stored

PROJECT_NUMBER: Final = "100000000000"


def rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def etag(generation: int, metageneration: int) -> str:
    """As the service makes it: a protocol buffer of the two numbers, in base64."""
    return base64.b64encode(b"\x08" + _varint(generation) + b"\x10" + _varint(metageneration)).decode()


def _varint(number: int) -> bytes:
    groups = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def object_resource(endpoint: str, bucket: str, stored: Stored) -> dict[str, Any]:
    link = f"{endpoint}/storage/v1/b/{bucket}/o/{quote(stored.name, safe='')}"
    download = link.replace("/storage/v1/", "/download/storage/v1/", 1)
    seen: dict[str, Any] = {
        "kind": "storage#object",
        "id": f"{bucket}/{stored.name}/{stored.generation}",
        "selfLink": link,
        "mediaLink": f"{download}?generation={stored.generation}&alt=media",
        "name": stored.name,
        "bucket": bucket,
        "generation": str(stored.generation),
        "metageneration": str(stored.metageneration),
        "storageClass": "STANDARD",
        "size": str(stored.size_bytes),
        "md5Hash": stored.md5,
        "crc32c": stored.crc32c,
        "etag": etag(stored.generation, stored.metageneration),
        "timeCreated": rfc3339(stored.created),
        "updated": rfc3339(stored.updated),
        "timeStorageClassUpdated": rfc3339(stored.created),
        "timeFinalized": rfc3339(stored.created),
        **stored.fields,
    }
    if stored.content_type is not None:
        seen["contentType"] = stored.content_type
    if stored.metadata:
        seen["metadata"] = dict(stored.metadata)
    if stored.deleted is not None:
        seen["timeDeleted"] = rfc3339(stored.deleted)
    return seen


def object_json(endpoint: str, bucket: str, stored: Stored) -> bytes:
    return msgspec.json.encode(object_resource(endpoint, bucket, stored))


def bucket_resource(endpoint: str, bucket: Bucket) -> dict[str, Any]:
    seen: dict[str, Any] = {
        "kind": "storage#bucket",
        "id": bucket.name,
        "selfLink": f"{endpoint}/storage/v1/b/{bucket.name}",
        "name": bucket.name,
        "projectNumber": PROJECT_NUMBER,
        "generation": str(int(bucket.created * 1_000_000)),
        "metageneration": str(bucket.metageneration),
        "etag": etag(0, bucket.metageneration),
        "location": bucket.location,
        "locationType": "multi-region",
        "storageClass": "STANDARD",
        "timeCreated": rfc3339(bucket.created),
        "updated": rfc3339(bucket.updated),
        "softDeletePolicy": {
            "retentionDurationSeconds": str(bucket.soft_delete_seconds),
            "effectiveTime": rfc3339(bucket.created),
        },
        "iamConfiguration": {
            "uniformBucketLevelAccess": {"enabled": True},
            "bucketPolicyOnly": {"enabled": True},
            "publicAccessPrevention": "enforced",
        },
    }
    if bucket.is_versioned:
        seen["versioning"] = {"enabled": True}
    if bucket.cors:
        seen["cors"] = [dict(each) for each in bucket.cors]
    if bucket.lifecycle:
        seen["lifecycle"] = {"rule": [dict(each) for each in bucket.lifecycle]}
    if bucket.labels:
        seen["labels"] = dict(bucket.labels)
    return seen
