"""What a notification's body may look like, whichever way it came: the hints in it, once its sender is known.

- Amazon S3 User Guide, "Event message structure": `Records[]` with `eventName`, `s3.bucket.name` and a form-encoded
  `s3.object.key`. MinIO sends the same with `s3:` before the event name and `/` as `%2F`. Ceph says
  `eventSource = "ceph:s3"` and does **not** encode the key. `s3:TestEvent` comes once, when S3 is told of a receiver.
- Amazon SNS Developer Guide, "HTTP/HTTPS notification JSON format": the above as a string, in `Message`. With raw
  message delivery the envelope is missing.
- Amazon S3 User Guide, "EventBridge event message structure": one event, the key as it is.

One bad record spoils no other. What reads well and is about something else – a text that somebody published to the
topic, another service's event – is ignored; what cannot be read is malformed.
"""

from collections.abc import Iterable
from urllib.parse import unquote_plus

import msgspec
from msgspec import Raw, Struct

from broker.ports import Hint, Opened

_CREATED = "ObjectCreated:"
_REMOVED = (
    "ObjectRemoved:",
    "LifecycleExpiration:",  # S3: never announced as ObjectRemoved
    "ObjectLifecycle:Expiration:",  # the same, as Ceph spells it ("S3 Bucket Notifications Compatibility")
)
_BRIDGED = {"Object Created": False, "Object Deleted": True}  # whether it is a removal

_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeError)
_MALFORMED, _IGNORED = Opened(hints=(), malformed=1), Opened(hints=(), ignored=1)


class _Body(Struct, frozen=True):
    """Nothing is believed of a field before it is needed: an odd one beside good records spoils none of them."""

    records: Raw = msgspec.field(name="Records", default=Raw(b"null"))
    event: Raw = msgspec.field(name="Event", default=Raw(b"null"))
    type: Raw = msgspec.field(name="Type", default=Raw(b"null"))
    message: Raw = msgspec.field(name="Message", default=Raw(b"null"))
    detail_type: Raw = msgspec.field(name="detail-type", default=Raw(b"null"))


class _Bucket(Struct, frozen=True):
    name: str


class _Object(Struct, frozen=True, rename={"version": "versionId"}):
    key: str
    version: Raw = Raw(b"null")
    sequencer: Raw = Raw(b"null")


class _S3(Struct, frozen=True):
    bucket: _Bucket
    object: _Object


class _Record(Struct, frozen=True, rename="camel"):
    event_name: str
    s3: _S3
    event_source: str = ""


class _BridgedObject(Struct, frozen=True, rename={"version": "version-id"}):
    key: str
    version: Raw = Raw(b"null")
    sequencer: Raw = Raw(b"null")


class _Detail(Struct, frozen=True):
    bucket: _Bucket
    object: _BridgedObject


class _Bridged(Struct, frozen=True):
    source: str
    detail_type: str = msgspec.field(name="detail-type")
    detail: Raw = Raw(b"null")


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_records = msgspec.json.Decoder(list[Raw]).decode
_decode_record = msgspec.json.Decoder(_Record).decode
_decode_bridged = msgspec.json.Decoder(_Bridged).decode
_decode_detail = msgspec.json.Decoder(_Detail).decode
_decode_text = msgspec.json.Decoder(str).decode


def open_body(body: bytes | str) -> Opened:
    """The hints in a body of any of these shapes; never raises."""
    try:
        shape = _decode_body(body)
        if _text(shape.type) == "Notification" and not _is_given(shape.records):
            return open_published(_decode_text(shape.message))
        return _open_shape(shape, body)
    except _UNREADABLE:
        return _MALFORMED


def open_published(message: str) -> Opened:
    """What was published to a topic, where there may be texts that are no business of ours; never raises."""
    try:
        shape = _decode_body(message)
    except _UNREADABLE:
        return _IGNORED
    if not (_is_given(shape.records) or _is_given(shape.detail_type)):
        return _IGNORED
    try:
        return _open_shape(shape, message)
    except _UNREADABLE:
        return _MALFORMED


def _open_shape(shape: _Body, body: bytes | str) -> Opened:
    if _is_given(shape.records):
        return _open_records(_decode_records(shape.records))
    if _is_given(shape.detail_type):
        return _open_bridged(_decode_bridged(body))
    return _IGNORED if _text(shape.event) else _MALFORMED


def _open_records(records: Iterable[Raw]) -> Opened:
    hints: list[Hint] = []
    malformed = ignored = 0
    for raw in records:
        try:
            hint = _hint_in(_decode_record(raw))
        except _UNREADABLE:
            malformed += 1
            continue
        if hint is None:
            ignored += 1
        else:
            hints.append(hint)
    return Opened(hints=hints, malformed=malformed, ignored=ignored)


def _hint_in(record: _Record) -> Hint | None:
    name, stored = record.event_name.removeprefix("s3:"), record.s3.object
    key = stored.key if record.event_source == "ceph:s3" else unquote_plus(stored.key, errors="strict")
    is_removed = name.startswith(_REMOVED)
    if not (is_removed or name.startswith(_CREATED)):
        return None
    return Hint(
        bucket=record.s3.bucket.name,
        key=key,
        is_removed=is_removed,
        version=_text(stored.version),
        sequencer=_text(stored.sequencer),
    )


def _open_bridged(event: _Bridged) -> Opened:
    """Nobody but S3 can say `aws.s3` on a bus (EventBridge, PutEvents: sources of AWS are reserved)."""
    is_removed = _BRIDGED.get(event.detail_type)
    if event.source != "aws.s3" or is_removed is None:
        return _IGNORED
    detail = _decode_detail(event.detail)
    hint = Hint(
        bucket=detail.bucket.name,
        key=detail.object.key,
        is_removed=is_removed,
        version=_text(detail.object.version),
        sequencer=_text(detail.object.sequencer),
    )
    return Opened(hints=(hint,))


def _is_given(field: Raw) -> bool:
    return bytes(field) != b"null"


def _text(field: Raw) -> str:
    """Empty when it is none."""
    try:
        return _decode_text(field)
    except _UNREADABLE:
        return ""
