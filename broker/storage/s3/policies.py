"""What each credential of a destination must be allowed, and nothing else, as policy documents to paste.

Actions after "Actions, resources, and condition keys for Amazon S3" (Service Authorization Reference). `s3:ListBucket`
is what makes a store answer 404 instead of 403 for a key or an upload that is not there ("HeadObject", Permissions;
measured on Ceph 16.2 for ListParts), and it cannot be narrowed by `s3:prefix`, which those calls do not carry. Who may
list the whole bucket anyway is not kept from anything by narrowing the two other listings.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from broker.storage.s3.dialects import Dialect

Right = Literal["write", "read", "remove"]

_ON_OBJECTS: dict[Right, tuple[str, ...]] = {
    # CreateMultipartUpload, UploadPart and CompleteMultipartUpload are s3:PutObject, too.
    "write": ("s3:PutObject", "s3:ListMultipartUploadParts"),
    "read": ("s3:GetObject", "s3:GetObjectVersion"),
    "remove": (
        "s3:DeleteObject",
        "s3:DeleteObjectVersion",
        "s3:GetObject",  # a DELETE with If-Match reads the ETag
        "s3:AbortMultipartUpload",
        "s3:ListMultipartUploadParts",
    ),
}
_ON_BUCKET: dict[Right, tuple[str, ...]] = {
    "write": ("s3:ListBucket",),
    "read": ("s3:ListBucket",),
    "remove": ("s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads"),
}
_READS = ("s3:GetObject", "s3:GetObjectVersion")


Condition = Mapping[str, Mapping[str, str | tuple[str, ...]]]


class Statement(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """Of an identity policy; that of a resource has a `Principal`, that of a role's trust no `Resource`."""

    sid: str
    effect: Literal["Allow", "Deny"]
    principal: Mapping[str, str | tuple[str, ...]] | str | None = None
    action: tuple[str, ...]
    resource: str | tuple[str, ...] | None = None
    condition: Condition | None = None


class PolicyDocument(Struct, frozen=True, kw_only=True, rename="pascal"):
    """An identity policy; a bucket policy is the same with a `Principal` in each statement."""

    version: Literal["2012-10-17"] = "2012-10-17"
    statement: tuple[Statement, ...]


class CorsRule(Struct, frozen=True, kw_only=True, rename="pascal"):
    """One rule of a bucket's CORS configuration (S3 User Guide, "Elements of a CORS configuration")."""

    allowed_origins: tuple[str, ...]
    allowed_methods: tuple[str, ...] = ("PUT", "GET")
    allowed_headers: tuple[str, ...] = ("content-type", "content-md5", "if-match", "if-none-match", "x-amz-*")
    expose_headers: tuple[str, ...] = ("ETag",)
    max_age_seconds: int = 3_600


class DestinationPolicies(Struct, frozen=True, kw_only=True):
    """Everything that an operator sets up for one destination."""

    write: PolicyDocument
    read: PolicyDocument
    remove: PolicyDocument
    cors: tuple[CorsRule, ...]


def policies_of(*, bucket: str, prefix: str, dialect: Dialect, origins: Sequence[str]) -> DestinationPolicies:
    """The minimal documents for one prefix of one bucket.

    :param origins: of the pages that upload from a browser; none, no rule.
    """
    return DestinationPolicies(
        write=_document("write", bucket, prefix, is_denied_reading=dialect.accepts_unsigned_headers),
        read=_document("read", bucket, prefix),
        remove=_document("remove", bucket, prefix),
        cors=(CorsRule(allowed_origins=tuple(origins)),) if origins else (),
    )


def _document(right: Right, bucket: str, prefix: str, *, is_denied_reading: bool = False) -> PolicyDocument:
    objects, whole = f"arn:aws:s3:::{bucket}/{prefix}/*", f"arn:aws:s3:::{bucket}"
    statements = [
        Statement(sid=f"{right.title()}Objects", effect="Allow", action=_ON_OBJECTS[right], resource=objects),
        Statement(sid=f"{right.title()}Bucket", effect="Allow", action=_ON_BUCKET[right], resource=whole),
    ]
    if is_denied_reading:
        # A store that obeys unsigned x-amz-copy-source lets a signed PUT read what its signer may read; on Ceph who
        # writes an object owns it, so not being allowed is not enough.
        everything = f"{whole}/*"
        statements.append(Statement(sid="NeverRead", effect="Deny", action=_READS, resource=everything))
    return PolicyDocument(statement=tuple(statements))
