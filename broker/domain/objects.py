"""What may be uploaded, what was found, and whether the two agree."""

import base64
import binascii
import re
from datetime import datetime

import msgspec
from msgspec import Struct

from broker.contract import CHECKSUM_ALGORITHMS, Checksum, Guarantees, Level, Reason, StoredObject
from broker.domain.errors import ChecksumInvalid, MetadataInvalid

_NOTHING_DECLARED = Checksum()
CAPSULE_FIELD = "upload-session"  # the object metadata field that seals a session into its object

_DIGEST_BYTES = {"sha256": 32, "crc32c": 4, "crc64nvme": 8, "md5": 16}
_TOKEN = re.compile(r"[a-z0-9!#$&^_.|~+-]{1,128}")  # RFC 9110 token, lower case: HTTP field names are folded
_PRINTABLE = re.compile(r"[!-~]([ -~]*[!-~])?|")  # no outer blanks: SigV4 trims them and HEAD would not give them back


class UploadSpec(Struct, frozen=True, kw_only=True, array_like=True):
    """Exactly one object: what the client declared and the signature binds."""

    filename: str
    size_bytes: int
    content_type: str
    checksum: Checksum = Checksum()
    object_metadata: dict[str, str] = {}


class ObjectInfo(Struct, frozen=True, kw_only=True):
    """What HEAD says. `version` is None where the bucket keeps no versions; `etag` has no quotes."""

    size_bytes: int
    content_type: str
    etag: str
    version: str | None = None
    checksum: Checksum = Checksum()
    metadata: dict[str, str] = {}
    last_modified: datetime | None = None


class Pin(Struct, frozen=True, kw_only=True, array_like=True):
    """The one stored state of an object that was judged; every read and removal names it."""

    etag: str
    version: str | None = None


def pin_of(stored: StoredObject | ObjectInfo) -> Pin:
    return Pin(etag=stored.etag, version=stored.version)


def stored_object(info: ObjectInfo) -> StoredObject:
    """What the session keeps of a HEAD: all but the metadata, which the session knows already."""
    return StoredObject(
        size_bytes=info.size_bytes,
        content_type=info.content_type,
        etag=info.etag,
        version=info.version,
        checksum=info.checksum,
        last_modified=info.last_modified,
    )


def declared(checksum: Checksum) -> dict[str, str]:
    """The digests that were declared, by algorithm."""
    if checksum == _NOTHING_DECLARED:
        return {}
    return {name: value for name in CHECKSUM_ALGORITHMS if (value := getattr(checksum, name)) is not None}


def with_one_digest(spec: UploadSpec, algorithm: str) -> UploadSpec:
    """The same object, of whose digests only this one was declared."""
    digest = Checksum(**{algorithm: declared(spec.checksum)[algorithm]})
    return msgspec.structs.replace(spec, checksum=digest)


def check_checksum(checksum: Checksum) -> None:
    """:raises ChecksumInvalid: a digest is not standard base64 of its algorithm's length."""
    for name, value in declared(checksum).items():
        if not _is_digest(value, _DIGEST_BYTES[name]):
            raise ChecksumInvalid.at(f"/checksum/{name}")


def _is_digest(text: str, length: int) -> bool:
    """In the one spelling that a store gives back: spare bits of the last character are zero."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(raw) == length and base64.b64encode(raw).decode() == text


def check_object_metadata(metadata: dict[str, str]) -> None:
    """:raises MetadataInvalid: a name is not a lower-case token, is reserved, or a value is not printable ASCII."""
    for name, value in metadata.items():
        if name == CAPSULE_FIELD or not _TOKEN.fullmatch(name):
            raise MetadataInvalid.at("/object_metadata", f"{name[:64]!r} is not a usable metadata name")
        if not _PRINTABLE.fullmatch(value):
            pointer = name.replace("~", "~0")  # RFC 6901 section 3
            raise MetadataInvalid.at(f"/object_metadata/{pointer}", "a value is printable ASCII without outer blanks")


def judge(spec: UploadSpec, info: ObjectInfo) -> Reason | None:
    """Whether the stored object is what was declared: None, or the first reason why not."""
    if info.size_bytes != spec.size_bytes:
        return Reason(code="size-mismatch", message=f"declared {spec.size_bytes} bytes, stored {info.size_bytes}")
    if info.content_type != spec.content_type:
        return Reason(code="content-type-mismatch", message=f"declared {spec.content_type}, stored otherwise")
    found = declared(info.checksum)
    for name, value in declared(spec.checksum).items():
        if found.get(name, value) != value:
            return Reason(code="checksum-mismatch", message=f"the stored {name} is not the declared one")
    return None


def unshown(spec: UploadSpec, info: ObjectInfo, guarantees: Guarantees) -> Reason | None:
    """What HEAD was to prove, and does not even show: a promise to judge there is not kept by looking away."""
    if guarantees.checksum is not Level.AT_HEAD or declared(spec.checksum).keys() <= declared(info.checksum).keys():
        return None
    return Reason(code="checksum-not-shown", message="the store does not show the digest that was declared")


def unproved(spec: UploadSpec, stored: StoredObject | ObjectInfo, guarantees: Guarantees) -> list[str]:
    """The declared digests that neither the store enforced nor HEAD showed: reading proves them."""
    if guarantees.checksum is Level.ENFORCED:
        return []
    found = declared(stored.checksum)
    return [name for name in declared(spec.checksum) if name not in found]
