"""Which operation a request asks for: method, level and the query parameters that select a sub-resource.

A sub-resource that S3 has and this emulator has not is refused, never taken for the plain operation: `PUT ?acl` must
not overwrite an object.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from emulators.s3 import buckets, completion, listing, multipart, objects, safeguards
from emulators.s3.context import Call, Reply, Store
from emulators.s3.errors import S3Error
from emulators.s3.request import S3Request

Operation = Callable[[Store, Call], Awaitable[Reply]]

_NAMES: Final = """
    accelerate acl analytics attributes cors delete encryption intelligent-tiering inventory legal-hold lifecycle
    location logging metadataConfiguration metadataTable metrics notification object-lock ownershipControls policy
    policyStatus publicAccessBlock renameObject replication requestPayment restore retention select session tagging
    torrent uploadId uploads versioning versions website
"""
SUBRESOURCES: Final = frozenset(_NAMES.split())


@dataclass(frozen=True, slots=True)
class Route:
    name: str
    operation: Operation


def _table() -> Mapping[tuple[str, str, str], Route]:
    return {
        ("service", "GET", ""): Route("ListBuckets", buckets.list_buckets),
        ("bucket", "PUT", ""): Route("CreateBucket", buckets.create_bucket),
        ("bucket", "HEAD", ""): Route("HeadBucket", buckets.head_bucket),
        ("bucket", "DELETE", ""): Route("DeleteBucket", buckets.delete_bucket),
        ("bucket", "GET", "location"): Route("GetBucketLocation", buckets.get_location),
        ("bucket", "GET", "versioning"): Route("GetBucketVersioning", buckets.get_versioning),
        ("bucket", "PUT", "versioning"): Route("PutBucketVersioning", buckets.put_versioning),
        ("bucket", "GET", "cors"): Route("GetBucketCors", buckets.get_cors),
        ("bucket", "PUT", "cors"): Route("PutBucketCors", buckets.put_cors),
        ("bucket", "DELETE", "cors"): Route("DeleteBucketCors", buckets.delete_cors),
        ("bucket", "GET", "policy"): Route("GetBucketPolicy", buckets.get_policy),
        ("bucket", "PUT", "policy"): Route("PutBucketPolicy", buckets.put_policy),
        ("bucket", "DELETE", "policy"): Route("DeleteBucketPolicy", buckets.delete_policy),
        ("bucket", "GET", "lifecycle"): Route("GetBucketLifecycleConfiguration", safeguards.get_lifecycle),
        ("bucket", "PUT", "lifecycle"): Route("PutBucketLifecycleConfiguration", safeguards.put_lifecycle),
        ("bucket", "DELETE", "lifecycle"): Route("DeleteBucketLifecycle", safeguards.delete_lifecycle),
        ("bucket", "GET", "publicAccessBlock"): Route("GetPublicAccessBlock", safeguards.get_public_access),
        ("bucket", "PUT", "publicAccessBlock"): Route("PutPublicAccessBlock", safeguards.put_public_access),
        ("bucket", "DELETE", "publicAccessBlock"): Route("DeletePublicAccessBlock", safeguards.delete_public_access),
        ("bucket", "GET", "ownershipControls"): Route("GetBucketOwnershipControls", safeguards.get_ownership),
        ("bucket", "PUT", "ownershipControls"): Route("PutBucketOwnershipControls", safeguards.put_ownership),
        ("bucket", "DELETE", "ownershipControls"): Route("DeleteBucketOwnershipControls", safeguards.delete_ownership),
        ("bucket", "GET", ""): Route("ListObjects", listing.list_objects),
        ("bucket", "GET", "versions"): Route("ListObjectVersions", listing.list_versions),
        ("bucket", "POST", "delete"): Route("DeleteObjects", listing.delete_objects),
        ("bucket", "GET", "uploads"): Route("ListMultipartUploads", multipart.list_uploads),
        ("object", "POST", "uploads"): Route("CreateMultipartUpload", multipart.create),
        ("object", "PUT", "uploadId"): Route("UploadPart", multipart.upload_part),
        ("object", "PUT", "uploadId+copy"): Route("UploadPartCopy", multipart.upload_part_copy),
        ("object", "GET", "uploadId"): Route("ListParts", multipart.list_parts),
        ("object", "POST", "uploadId"): Route("CompleteMultipartUpload", completion.complete),
        ("object", "DELETE", "uploadId"): Route("AbortMultipartUpload", multipart.abort),
        ("object", "PUT", ""): Route("PutObject", objects.put_object),
        ("object", "PUT", "copy"): Route("CopyObject", objects.copy_object),
        ("object", "GET", ""): Route("GetObject", objects.get_object),
        ("object", "HEAD", ""): Route("HeadObject", objects.get_object),
        ("object", "DELETE", ""): Route("DeleteObject", objects.delete_object),
        ("object", "GET", "tagging"): Route("GetObjectTagging", objects.get_tagging),
        ("object", "PUT", "tagging"): Route("PutObjectTagging", objects.put_tagging),
        ("object", "DELETE", "tagging"): Route("DeleteObjectTagging", objects.delete_tagging),
    }


ROUTES: Final = _table()


def find(request: S3Request) -> Route:
    """:raises S3Error: NotImplemented or MethodNotAllowed."""
    level = "service" if request.bucket is None else "bucket" if request.key is None else "object"
    selectors = sorted(SUBRESOURCES & request.params.keys())
    if level == "object" and request.method == "PUT" and request.header("x-amz-copy-source") is not None:
        selectors.append("copy")
    if request.method == "PUT" and "partNumber" in request.params and "uploadId" not in request.params:
        raise S3Error("InvalidArgument", "This operation does not accept a part number without an upload id.")
    selector = "+".join(selectors)
    route = ROUTES.get((level, request.method, selector))
    if route is None:
        code = "NotImplemented" if selector else "MethodNotAllowed"
        raise S3Error(code, fields={"Method": request.method, "ResourceType": (selector or level).upper()})
    return route
