"""What a writer may say of an object: the resource of the JSON API, the headers of the XML API.

Sources, under https://cloud.google.com/storage/docs/: json_api/v1/objects#resource ("writable properties"),
xml-api/reference-headers, metadata#custom-metadata. What is not emulated is refused: to ignore it would be to
promise it.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from emulators.gcs.errors import GcsError
from emulators.gcs.records import Draft
from emulators.gcs.request import GcsRequest, check_name

META: Final = "x-goog-meta-"
MAX_METADATA_BYTES: Final = 8_192  # metadata#custom-metadata: 8 KiB for all of them, names and values
DIGEST_BYTES: Final = {"crc32c": 4, "md5": 16}
# Property of the JSON API: header of the XML API
FIELDS: Final = {
    "cacheControl": "cache-control",
    "contentDisposition": "content-disposition",
    "contentEncoding": "content-encoding",
    "contentLanguage": "content-language",
}
_READ_ONLY: Final = frozenset({"kind", "id", "selfLink", "bucket", "generation", "metageneration", "size", "etag"})
_XML_REFUSED: Final = (
    "x-goog-copy-source",
    "x-goog-encryption-",
    "x-goog-acl",
    "x-goog-object-lock-",
    "x-goog-custom-time",
)


class Resource(msgspec.Struct, frozen=True, rename="camel"):
    """The properties of an object that a writer may set."""

    name: str | None = None
    content_type: str | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    metadata: dict[str, str | None] | None = None
    crc32c: str | None = None
    md5_hash: str | None = None
    storage_class: str | None = None


_KNOWN: Final = frozenset(each.encode_name for each in msgspec.structs.fields(Resource)) | _READ_ONLY


def read_resource(document: bytes) -> Resource:
    """:raises GcsError: InvalidArgument, NotImplemented."""
    try:
        given: dict[str, Any] = msgspec.json.decode(document or b"{}", type=dict[str, Any])
        resource = msgspec.convert(given, Resource)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as exc:
        raise GcsError("InvalidArgument", f"Parse Error: {exc}") from exc
    if unknown := sorted(given.keys() - _KNOWN):
        raise GcsError("NotImplemented", f"Not emulated, so refused: {', '.join(unknown)}")
    if resource.storage_class not in {None, "STANDARD"}:
        raise GcsError("NotImplemented", "Only the storage class STANDARD is emulated.")
    return resource


def fields_of(resource: Resource) -> Mapping[str, str]:
    given = {name: getattr(resource, header.replace("-", "_")) for name, header in FIELDS.items()}
    return {name: value for name, value in given.items() if value is not None}


def json_draft(resource: Resource, *, name: str | None, content_type: str | None) -> Draft:
    """`name` is the query's; `content_type` is the body's, where the resource names none.

    :raises GcsError: InvalidArgument, KeyTooLong, MetadataTooLarge, InvalidDigest.
    """
    if name is not None and resource.name is not None and name != resource.name:
        details = f"Value '{resource.name}' in content does not agree with value '{name}' in the query."
        raise GcsError("InvalidArgument", details)
    metadata = {key: value for key, value in (resource.metadata or {}).items() if value is not None}
    return Draft(
        name=check_name(name or resource.name or ""),
        content_type=resource.content_type or content_type,
        fields=fields_of(resource),
        metadata=check_metadata(metadata),
        crc32c=resource.crc32c and check_digest("crc32c", resource.crc32c),
        md5=resource.md5_hash and check_digest("md5", resource.md5_hash),
    )


def xml_draft(request: GcsRequest) -> Draft:
    """:raises GcsError: NotImplemented, InvalidArgument, KeyTooLong, MetadataTooLarge, InvalidDigest."""
    for name in request.joined_headers:
        if name.startswith(_XML_REFUSED):
            raise GcsError("NotImplemented", f"Not emulated, so refused: {name}")
    if request.header("x-goog-storage-class") not in {None, "STANDARD"}:
        raise GcsError("NotImplemented", "Only the storage class STANDARD is emulated.")
    hashes = hashes_of(request)
    return Draft(
        name=check_name(request.target.name),
        content_type=_text(request.header("content-type") or "application/octet-stream"),
        fields={name: _text(value) for name, header in FIELDS.items() if (value := request.header(header)) is not None},
        metadata=metadata_of(request),
        crc32c=hashes.get("crc32c"),
        md5=hashes.get("md5"),
    )


def metadata_of(request: GcsRequest) -> Mapping[str, str]:
    """Of the `x-goog-meta-*` headers.

    :raises GcsError: MetadataTooLarge.
    """
    given = {n.removeprefix(META): _text(v) for n, v in request.joined_headers.items() if n.startswith(META)}
    return check_metadata(given)


def check_metadata(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """:raises GcsError: MetadataTooLarge."""
    if sum(len(text.encode()) for pair in metadata.items() for text in pair) > MAX_METADATA_BYTES:
        raise GcsError("MetadataTooLarge")
    return metadata


def hashes_of(request: GcsRequest) -> Mapping[str, str]:
    """What `x-goog-hash` (both, or several of them) and `content-md5` demand.

    :raises GcsError: InvalidDigest, InvalidArgument.
    """
    found: dict[str, str] = {}
    for each in filter(None, (part.strip() for part in (request.header("x-goog-hash") or "").split(","))):
        name, _, value = each.partition("=")
        if name not in DIGEST_BYTES:
            raise GcsError("InvalidArgument", f"x-goog-hash knows crc32c and md5, not {name}.")
        found[name] = check_digest(name, value)
    md5 = request.header("content-md5")
    if md5 is not None and found.setdefault("md5", check_digest("md5", md5)) != md5:
        raise GcsError("InvalidDigest", "Content-MD5 and x-goog-hash do not agree.")
    return found


def check_digest(name: str, text: str) -> str:
    """:raises GcsError: InvalidDigest."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != DIGEST_BYTES[name]:
        raise GcsError("InvalidDigest", f"The {name} that you specified is not {DIGEST_BYTES[name]} bytes in base64.")
    return text


def _text(value: str) -> str:
    """Header bytes were read as latin-1; they are UTF-8 if anything."""
    return value.encode("latin-1").decode("utf-8", "replace")
