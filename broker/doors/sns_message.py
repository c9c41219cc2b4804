"""Messages that SNS signs: their fields, and the text that the signature covers.

Amazon SNS Developer Guide, "Verifying the signatures of Amazon SNS messages": names and values in the order of the
names, a line each. A value that held a line break could pass for two fields, so only `Message` may, which stands
first: read from the end, every text has one meaning. (SNS API Reference, Publish: `Subject` has neither line breaks nor
control characters.)
"""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from broker.domain.errors import NotAuthentic

Word = Annotated[str, Meta(pattern=r"^[!-~]{1,2048}\Z")]
Line = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{0,1024}\Z")]
Time = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z\Z")]

_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_SIGNED["UnsubscribeConfirmation"] = _SIGNED["SubscriptionConfirmation"]
_FIELDS = {"MessageId": "message_id", "SubscribeURL": "subscribe_url", "TopicArn": "topic_arn"}


class Message(Struct, frozen=True, rename="pascal"):
    """What SNS posts; fields that are neither signed nor needed to verify are not read."""

    type: Literal["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"]
    message_id: Word
    topic_arn: Word
    message: str
    timestamp: Time
    signature_version: str
    signature: str
    signing_cert_url: str = msgspec.field(name="SigningCertURL")
    subject: Line | None = None
    token: Word | None = None
    subscribe_url: Word | None = msgspec.field(name="SubscribeURL", default=None)

    @property
    def signed_text(self) -> bytes:
        """A field that is not there has no line. SNS leaves out `Subject` alone: any other misses in the signature."""
        fields = ((name, getattr(self, _FIELDS.get(name, name.lower()))) for name in _SIGNED[self.type])
        return "".join(f"{name}\n{value}\n" for name, value in fields if value is not None).encode()

    @property
    def sent_at(self) -> datetime:
        """
        :raises NotAuthentic: there is no such moment.
        """
        try:
            return datetime.fromisoformat(self.timestamp)
        except ValueError as exc:
            raise NotAuthentic("age") from exc

    @property
    def signature_bytes(self) -> bytes:
        """
        :raises NotAuthentic: it is no base64.
        """
        try:
            return base64.b64decode(self.signature, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise NotAuthentic("signature") from exc


_decode = msgspec.json.Decoder(Message).decode


def parse_message(body: bytes) -> Message:
    """:raises NotAuthentic: SNS would not write this."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as exc:
        raise NotAuthentic("shape") from exc
