"""Messages by which Cloud Storage tells through Pub/Sub: the hints in their attributes.

"Pub/Sub notifications for Cloud Storage", "Attributes": `eventType`, `bucketId`, `objectId` – the name as it is,
nothing is encoded – and `objectGeneration`. The payload, the object's metadata or nothing, says no more that matters
here and is not read. What else is published to the topic is no business of ours. Wrapped as in "Push subscriptions",
"Receive push messages", where Pub/Sub posts it; bare (`PubsubMessage`) where it was pulled.
"""

import msgspec
from msgspec import Raw, Struct

from broker.ports import Hint, Opened

# Whether it is a removal. OBJECT_ARCHIVE: in a bucket with versions the live one became noncurrent.
_EVENTS = {"OBJECT_FINALIZE": False, "OBJECT_DELETE": True, "OBJECT_ARCHIVE": True}

_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeError)
_MALFORMED, _IGNORED = Opened(hints=(), malformed=1), Opened(hints=(), ignored=1)


class Pushed(Struct, frozen=True):
    """What Pub/Sub posts."""

    message: Raw
    subscription: str = ""


class _Attributes(Struct, frozen=True, rename="camel"):
    event_type: str = ""
    bucket_id: str = ""
    object_id: str = ""
    object_generation: str = ""


class _Message(Struct, frozen=True):
    attributes: _Attributes | None = None


_decode_pushed = msgspec.json.Decoder(Pushed).decode
_decode_message = msgspec.json.Decoder(_Message).decode


def pushed_in(body: bytes) -> Pushed | None:
    """None: Pub/Sub would not write this."""
    try:
        return _decode_pushed(body)
    except _UNREADABLE:
        return None


def open_message(message: bytes | str | Raw) -> Opened:
    """The hint in a `PubsubMessage`; never raises."""
    try:
        attributes = _decode_message(message).attributes
    except _UNREADABLE:
        return _MALFORMED
    if attributes is None or not attributes.event_type:
        return _IGNORED
    is_removed = _EVENTS.get(attributes.event_type)
    if is_removed is None:
        return _IGNORED
    if not (attributes.bucket_id and attributes.object_id):
        return _MALFORMED
    hint = Hint(
        bucket=attributes.bucket_id,
        key=attributes.object_id,
        is_removed=is_removed,
        version=attributes.object_generation,
    )
    return Opened(hints=(hint,))
