"""What the headers of a write say about the object that comes of it.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html, "URI Request Parameters". A header that asks
for something this emulator does not do is refused: to ignore it would be to promise it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from emulators.s3.catalogue import Bucket
from emulators.s3.errors import S3Error
from emulators.s3.keeping import encryption, storage_class
from emulators.s3.request import S3Request

META: Final = "x-amz-meta-"
MAX_METADATA_BYTES: Final = 2048  # "Working with object metadata": user-defined metadata is limited to 2 KB
MAX_TAGS: Final = 10  # "Categorizing your storage using tags": up to 10 tags, keys 128 and values 256 characters
KEPT: Final = (
    "cache-control",
    "content-disposition",
    "content-language",
    "expires",
    "x-amz-website-redirect-location",
)
REFUSED_PREFIXES: Final = (
    "x-amz-object-lock-",
    "x-amz-server-side-encryption-context",
    "x-amz-server-side-encryption-customer-",
    "x-amz-bypass-governance-retention",
    "x-amz-write-offset-bytes",
    "x-amz-mfa",
)
# The same page: letters, numbers and spaces representable in UTF-8, and + - = . _ : / @
_TAG_TEXT: Final = re.compile(r"(?:[^\W_]|[\s+\-=._:/@])*")
CANNED_ACLS: Final = frozenset(
    {
        "private",
        "public-read",
        "public-read-write",
        "authenticated-read",
        "bucket-owner-read",
        "bucket-owner-full-control",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    headers: Mapping[str, str]
    metadata: Mapping[str, str]
    tags: Mapping[str, str]
    is_public: bool


def attributes(request: S3Request, bucket: Bucket, *, region: str) -> Attributes:
    """:raises S3Error: for each thing that S3 would refuse, and for what is not emulated."""
    _refuse_unknown(request)
    return Attributes(
        headers={**_kept(request), **storage_class(request), **encryption(request, region)},
        metadata=_metadata(request),
        tags=parse_tags(request.header("x-amz-tagging") or ""),
        is_public=_is_public(request, bucket),
    )


def _refuse_unknown(request: S3Request) -> None:
    for name, _ in request.headers:
        if name.startswith(REFUSED_PREFIXES):
            raise S3Error("NotImplemented", fields={"Header": name})


def _kept(request: S3Request) -> Mapping[str, str]:
    found = {name: _utf8(value) for name in KEPT if (value := request.header(name)) is not None}
    codings = [each.strip() for each in (request.header("content-encoding") or "").split(",")]
    encoding = ",".join(each for each in codings if each and each != "aws-chunked")
    if encoding:
        found["content-encoding"] = encoding
    found["content-type"] = _utf8(request.header("content-type") or "binary/octet-stream")
    return found


def _metadata(request: S3Request) -> Mapping[str, str]:
    names = [name for name in dict(request.headers) if name.startswith(META)]
    found = {name.removeprefix(META): request.header(name) or "" for name in names}
    size = sum(len(text.encode("latin-1")) for pair in found.items() for text in pair)
    if size > MAX_METADATA_BYTES:
        raise S3Error("MetadataTooLarge", fields={"Size": str(size), "MaxSizeAllowed": str(MAX_METADATA_BYTES)})
    return {name: _utf8(value) for name, value in found.items()}


def _utf8(value: str) -> str:
    """Header bytes were read as latin-1; answers are written as UTF-8."""
    return value.encode("latin-1").decode("utf-8", "replace")


def parse_tags(text: str) -> Mapping[str, str]:
    """Tags as `x-amz-tagging` spells them: like a query."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text))
    except ValueError as exc:
        raise S3Error("InvalidArgument", "The header 'x-amz-tagging' shall be encoded as UTF-8 URL query.") from exc
    return check_tags(pairs)


def check_tags(pairs: list[tuple[str, str]]) -> Mapping[str, str]:
    tags = dict(pairs)
    is_within = all(0 < len(key) <= 128 and len(value) <= 256 for key, value in pairs)
    is_text = all(_TAG_TEXT.fullmatch(text) for pair in pairs for text in pair)
    if len(tags) != len(pairs) or not is_within or not is_text:
        raise S3Error("InvalidTag")
    if any(key.lower().startswith("aws:") for key in tags):
        raise S3Error("InvalidTag", "System tags cannot be added/updated by requester")
    if len(tags) > MAX_TAGS:
        raise S3Error("BadRequest", "Object tags cannot be greater than 10")
    return tags


def _is_public(request: S3Request, bucket: Bucket) -> bool:
    """Where a bucket has ACLs, a canned one is believed."""
    has_acls = bucket.has_acls
    grants = [name for name, _ in request.headers if name.startswith("x-amz-grant-")]
    acl = request.header("x-amz-acl")
    if grants:
        raise S3Error("NotImplemented" if has_acls else "AccessControlListNotSupported", fields={"Header": grants[0]})
    if acl is None or acl == "bucket-owner-full-control":
        return False
    if not has_acls:
        raise S3Error("AccessControlListNotSupported")
    if acl not in CANNED_ACLS:
        raise S3Error("InvalidArgument", fields={"ArgumentName": "x-amz-acl", "ArgumentValue": acl})
    is_public = acl.startswith("public-read") or acl == "authenticated-read"
    if is_public and bucket.has_block("BlockPublicAcls"):
        raise S3Error("AccessDenied", "The BlockPublicAcls setting of this bucket refuses public ACLs.")
    return acl.startswith("public-read")
