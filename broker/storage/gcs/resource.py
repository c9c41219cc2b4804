"""An object as the JSON API tells of it.

Obeys "Objects" of the Cloud Storage JSON API: numbers of 64 bits are texts; `md5Hash` is missing of an object that was
composed, or came by the XML API's multipart upload; `timeDeleted` stands only at a generation that is not the live one.

An object whose `contentEncoding` is gzip is decompressed on its way to a reader who does not ask for gzip
("Transcoding of gzip-compressed files"): he would read other bytes, and more of them, than were declared. Nobody here
asks for that, and a signature cannot forbid it. So such an object is of another type than whatever was declared.
"""

from base64 import b64encode
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from broker.contract import Checksum
from broker.domain.errors import StoreUnavailable
from broker.domain.objects import ObjectInfo


class Resource(Struct, frozen=True, kw_only=True, rename="camel"):
    name: str
    generation: str
    size: str
    content_type: str = ""
    content_encoding: str = ""
    md5_hash: bytes | None = None
    crc32c: str | None = None
    metadata: dict[str, str] = {}
    time_created: Annotated[datetime, Meta(tz=True)]
    time_deleted: datetime | None = None

    def __post_init__(self) -> None:
        """Parsed at the door: what is no number is no resource."""
        if not (is_number(self.generation) and is_number(self.size)):
            raise ValueError("generation and size are numbers")

    @property
    def etag(self) -> str:
        """What tells this state from others of the same key: the digest, where there is one."""
        return self.md5_hash.hex() if self.md5_hash else self.generation


def read_resource(body: bytes) -> Resource:
    """:raises StoreUnavailable: that is none."""
    try:
        return msgspec.json.decode(body, type=Resource)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise StoreUnavailable("the store answers with something that is no object resource") from exc


def object_info(found: Resource) -> ObjectInfo:
    md5 = b64encode(found.md5_hash).decode() if found.md5_hash else None
    is_encoded = found.content_encoding not in {"", "identity"}
    return ObjectInfo(
        size_bytes=int(found.size),
        content_type=f"{found.content_type} in {found.content_encoding}" if is_encoded else found.content_type,
        etag=found.etag,
        version=found.generation,
        checksum=Checksum(crc32c=found.crc32c, md5=md5),
        metadata=found.metadata,
        last_modified=found.time_created.astimezone(UTC),
    )


def is_number(text: str) -> bool:
    """Decimal, of at most 64 bits."""
    return text.isascii() and text.isdecimal() and len(text) <= 19
