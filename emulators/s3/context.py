"""What an operation is given and what it gives back."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Final

from aiohttp import web

from emulators.blobs import Blobs, Segment
from emulators.s3.access import Access
from emulators.s3.body import Intake
from emulators.s3.catalogue import Bucket, Catalogue, Stored
from emulators.s3.counters import Counters
from emulators.s3.errors import S3Error
from emulators.s3.events import Event, Notifier
from emulators.s3.faults import Faults
from emulators.s3.request import S3Request
from emulators.s3.settings import Settings
from emulators.s3.sigv4 import Signed
from emulators.s3.xml import Node, document

XML: Final = "application/xml"
REMEMBERED_UPLOADS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A run of bytes of a stored object, to be streamed."""

    segments: tuple[Segment, ...]
    start: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Slice = b""


class Completed:
    """Uploads that were completed lately: a repeated CompleteMultipartUpload gets the same answer, as on AWS."""

    def __init__(self) -> None:
        self._replies: OrderedDict[str, Reply] = OrderedDict()

    def remember(self, upload_id: str, reply: Reply) -> None:
        self._replies[upload_id] = reply
        if len(self._replies) > REMEMBERED_UPLOADS:
            self._replies.popitem(last=False)

    def reply(self, upload_id: str) -> Reply | None:
        return self._replies.get(upload_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Everything that operations share."""

    settings: Settings
    catalogue: Catalogue
    blobs: Blobs
    intake: Intake
    notifier: Notifier
    faults: Faults
    counters: Counters
    completed: Completed

    def bucket(self, name: str) -> Bucket:
        """:raises S3Error: NoSuchBucket."""
        bucket = self.catalogue.bucket(name)
        if bucket is None:
            raise S3Error("NoSuchBucket", fields={"BucketName": name})
        return bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One authenticated request."""

    http: web.BaseRequest
    request: S3Request
    signed: Signed | None
    request_id: str

    @property
    def who(self) -> str | None:
        return None if self.signed is None else self.signed.account.name

    @property
    def principal(self) -> str:
        return self.who or "anonymous"

    @property
    def key(self) -> str:
        if self.request.key is None:
            raise S3Error("MethodNotAllowed")
        return self.request.key

    def access(self, bucket: Bucket) -> Access:
        return Access(who=self.who, bucket=bucket)

    def event(self, name: str, bucket: Bucket, key: str, stored: Stored) -> Event:
        return Event(
            name=name,
            bucket=bucket,
            key=key,
            stored=stored,
            principal=self.principal,
            source_ip=self.request.source_ip,
            request_id=self.request_id,
        )


def xml_reply(root: str, children: list[Node], headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(headers={"Content-Type": XML, **(headers or {})}, body=document(root, children))


def quoted(etag: str) -> str:
    return f'"{etag}"'


def http_date(moment: float) -> str:
    return formatdate(moment, usegmt=True)
