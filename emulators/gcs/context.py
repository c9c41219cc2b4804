"""What an operation is given and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

from emulators.blobs import Blobs, Segment
from emulators.gcs.access import Caller, Grants
from emulators.gcs.catalogue import Catalogue
from emulators.gcs.counters import Counters
from emulators.gcs.errors import JSON, GcsError
from emulators.gcs.events import Messages
from emulators.gcs.faults import Faults
from emulators.gcs.hashing import Hashers
from emulators.gcs.intake import Intake
from emulators.gcs.outbox import Outbox
from emulators.gcs.records import Bucket, Stored
from emulators.gcs.request import GcsRequest
from emulators.gcs.resource import object_json
from emulators.gcs.settings import Settings
from emulators.gcs.turns import Turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A run of bytes of a stored object, to be streamed."""

    segments: tuple[Segment, ...]
    start: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """`headers` may repeat a name, as `x-goog-hash` does."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    repeated: tuple[tuple[str, str], ...] = ()
    body: bytes | Slice = b""
    is_write: bool = False
    """Whether it answers a change that is committed, so that a fault may spoil this answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Everything that operations share."""

    settings: Settings
    catalogue: Catalogue
    blobs: Blobs
    intake: Intake
    hashers: Hashers
    turns: Turns
    messages: Messages
    outbox: Outbox
    grants: Grants
    faults: Faults
    counters: Counters

    def bucket(self, name: str) -> Bucket:
        """:raises GcsError: NoSuchBucket."""
        bucket = self.catalogue.bucket(name)
        if bucket is None:
            raise GcsError("NoSuchBucket")
        return bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request whose sender is known as far as he says."""

    http: web.BaseRequest
    request: GcsRequest
    caller: Caller | None

    @property
    def endpoint(self) -> str:
        """As the client sees us."""
        return f"http://{self.request.header('host')}"

    def bucket(self, store: Store, permission: str) -> Bucket:
        """The bucket that the path names, if the caller may do this in it.

        :raises GcsError: NoSuchBucket, AuthenticationRequired, InsufficientScope, AccessDenied.
        """
        bucket = store.bucket(self.request.target.bucket)
        store.grants.require(self.caller, bucket.name, permission)
        return bucket


def json_reply(body: bytes, *, status: int = 200, is_write: bool = False) -> Reply:
    headers = {"Content-Type": JSON, "Cache-Control": "no-cache, no-store, max-age=0, must-revalidate"}
    return Reply(status=status, headers=headers, body=body, is_write=is_write)


def object_reply(call: Call, bucket: str, stored: Stored, *, is_write: bool = False) -> Reply:
    return json_reply(object_json(call.endpoint, bucket, stored), is_write=is_write)
