"""The records of the catalogue."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from emulators.blobs import Segment


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """A notification configuration. `url` is where its topic is reached, none when nobody said so."""

    id: str
    topic: str
    url: str | None
    event_types: tuple[str, ...] = ()
    attributes: Mapping[str, str] = {}
    prefix: str = ""
    payload_format: str = "JSON_API_V1"


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket; what is only kept and answered is kept as the JSON it came as."""

    name: str
    created: float
    updated: float
    location: str
    metageneration: int = 1
    is_versioned: bool = False
    cors: tuple[Mapping[str, Any], ...] = ()
    lifecycle: tuple[Mapping[str, Any], ...] = ()
    labels: Mapping[str, str] = {}
    soft_delete_seconds: int = 604_800  # soft-delete: "a retention duration of 7 days by default"
    notifications: tuple[Notification, ...] = ()
    next_notification: int = 1


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What a writer says of the object that shall be; `crc32c` and `md5` are what its bytes must have, in base64."""

    name: str
    content_type: str | None = None
    fields: Mapping[str, str] = {}
    metadata: Mapping[str, str] = {}
    crc32c: str | None = None
    md5: str | None = None


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """One generation of one object; `deleted` is when it ceased to be the live one."""

    name: str
    generation: int
    created: float
    updated: float
    size_bytes: int
    crc32c: str
    md5: str
    metageneration: int = 1
    content_type: str | None = None
    fields: Mapping[str, str] = {}
    metadata: Mapping[str, str] = {}
    segments: tuple[Segment, ...] = ()
    deleted: float | None = None


class SessionState(StrEnum):
    OPEN = "open"
    COMPLETE = "complete"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """Preconditions; generation 0 stands for no live object."""

    generation: int | None = None
    not_generation: int | None = None
    metageneration: int | None = None
    not_metageneration: int | None = None


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A resumable upload. Who knows its id may send the bytes, as `owner`; `origin` is the page that may, too."""

    id: str
    bucket: str
    owner: str
    api: str
    created: float
    expires: float
    draft: Draft
    conditions: Conditions
    declared_bytes: int | None = None
    min_bytes: int | None = None
    max_bytes: int | None = None
    origin: str | None = None
    state: SessionState = SessionState.OPEN
    result: Stored | None = None


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """One message on its way to one topic, not before `due`."""

    url: str
    body: bytes
    due: float = 0.0
