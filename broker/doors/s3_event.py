"""S3-shaped webhooks: AWS, MinIO and Ceph spelling of the S3 event message structure.

AWS "Event message structure" (Amazon S3 User Guide): `Records[]` with `eventName`, `s3.bucket.name` and a
form-encoded `s3.object.key`. MinIO sends the same with `s3:` before the event name and `/` as `%2F`. Ceph says
`eventSource = "ceph:s3"` and does **not** encode the key. None of them signs: the sender proves itself by a secret
that it was given – as Bearer token, as Basic password, or as `token` in the push URL's query, which is all that Ceph
can keep.
"""

import base64
import binascii
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_plus

import msgspec
from msgspec import Struct

from broker.domain.errors import NotAuthentic
from broker.ports import Envelope, Hint, Opened


class _Bucket(Struct, frozen=True):
    name: str


class _Object(Struct, frozen=True):
    key: str


class _S3(Struct, frozen=True):
    bucket: _Bucket
    object: _Object


class _Record(Struct, frozen=True, rename="camel"):
    event_name: str
    s3: _S3
    event_source: str = ""


class _Message(Struct, frozen=True):
    records: list[msgspec.Raw] | None = msgspec.field(name="Records", default=None)
    event: str = msgspec.field(name="Event", default="")


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_record = msgspec.json.Decoder(_Record).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class S3EventDoor:
    """A source of S3-shaped events.

    :param tokens: the secrets that the sender may present; two while one is being rotated.
    """

    destinations: Sequence[str]
    tokens: Sequence[str]

    def open(self, envelope: Envelope) -> Opened:
        self._authenticate(envelope)
        try:
            message = _decode_message(envelope.body)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return Opened(hints=(), malformed=1)
        if message.records is None:
            # `s3:TestEvent` comes once, when AWS is told about a receiver.
            return Opened(hints=(), ignored=1) if message.event else Opened(hints=(), malformed=1)
        return _read(message.records)

    def _authenticate(self, envelope: Envelope) -> None:
        given = [text.encode(errors="replace") for text in _presented(envelope) if text]
        known = [token.encode() for token in self.tokens]
        if not any([hmac.compare_digest(a, b) for a in given for b in known]):  # noqa: C419 - every pair, always
            raise NotAuthentic


def _presented(envelope: Envelope) -> Iterator[str]:
    scheme, _, rest = envelope.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield rest.strip()
    elif scheme.lower() == "basic":
        yield _basic_password(rest)
    if "token" in envelope.query:
        yield envelope.query["token"]


def _basic_password(text: str) -> str:
    """RFC 7617; the user name is the sender's own business."""
    try:
        return base64.b64decode(text.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _read(records: Sequence[msgspec.Raw]) -> Opened:
    hints: list[Hint] = []
    malformed = ignored = 0
    for raw in records:
        try:
            record = _decode_record(raw)
            key = _key(record)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            malformed += 1
            continue
        if record.event_name.removeprefix("s3:").startswith("ObjectCreated:"):
            hints.append(Hint(bucket=record.s3.bucket.name, key=key))
        else:
            ignored += 1
    return Opened(hints=hints, malformed=malformed, ignored=ignored)


def _key(record: _Record) -> str:
    key = record.s3.object.key
    return key if record.event_source == "ceph:s3" else unquote_plus(key, errors="strict")
