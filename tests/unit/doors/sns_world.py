"""SNS as it would be seen from here: keys of its own, certificates that it publishes, messages that it signs."""

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509.oid import NameOID

from broker.domain.errors import SenderUnavailable
from broker.doors.sns import SnsDoor
from broker.doors.sns_keys import SigningKeys
from broker.doors.sns_topic import Topic
from broker.ports import Envelope, PublishedPage
from tests.clock import FrozenClock
from tests.unit.doors.senders import aws, records

ARN = "arn:aws:sns:eu-central-1:123456789012:uploads"
HOST = "https://sns.eu-central-1.amazonaws.com"
CERTIFICATE = f"{HOST}/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem"
TOKEN = "2336412f37fb687f5d51e6e241d09c805a5a57b30d712f794cc5f6a988666d92"
KEY = "uploads/id/report.csv"
SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


def rsa_key(name: str = "sns") -> rsa.RSAPrivateKey:
    return _made(name)


@cache
def _made(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=1024 if name == "weak" else 2048)


def certificate(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, *, begins: datetime, days: int = 365, at: str = "sns"
) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{at}.amazonaws.com")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
        .sign(key, SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


@dataclass
class StandInPages:
    """What SNS publishes; an exception is what happens instead. Notes what it was asked for."""

    pages: dict[str, bytes | Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    fresh_for: timedelta | None = None
    open: asyncio.Event | None = None  # answers when it is set
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def get(self, url: str, *, at_most_bytes: int) -> PublishedPage | None:
        self.asked.append(url)
        self.was_asked.set()
        if self.open is not None:
            await self.open.wait()
        page = self.pages.get(url)
        if isinstance(page, Exception):
            raise page
        return None if page is None or len(page) > at_most_bytes else PublishedPage(body=page, fresh_for=self.fresh_for)


@dataclass
class Sns:
    """The door under test, and the one who knocks."""

    clock: FrozenClock = field(default_factory=FrozenClock)
    pages: StandInPages = field(default_factory=StandInPages)
    topics: Sequence[str] = (ARN,)
    versions: Sequence[str] = ("1", "2")

    def __post_init__(self) -> None:
        self.pages.pages.setdefault(CERTIFICATE, certificate(rsa_key(), begins=self.clock.now() - timedelta(days=1)))
        self.keys = SigningKeys(pages=self.pages, clock=self.clock)
        self.door = SnsDoor(
            destinations=("default",),
            topics={arn: Topic.parse(arn) for arn in self.topics},
            versions=self.versions,
            keys=self.keys,
            pages=self.pages,
            clock=self.clock,
        )

    def unavailable(self, url: str = CERTIFICATE) -> None:
        self.pages.pages[url] = SenderUnavailable()

    def message(self, kind: str = "Notification", **changes: Any) -> dict[str, Any]:
        """Not signed yet. A field that is changed to None is left out."""
        now = self.clock.now().astimezone(UTC)
        made: dict[str, Any] = {
            "Type": kind,
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": ARN,
            "Message": records(aws(KEY)).decode(),
            "Timestamp": f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03}Z",
            "SignatureVersion": "1",
            "SigningCertURL": CERTIFICATE,
        }
        if kind == "Notification":
            made |= {"Subject": "Amazon S3 Notification", "UnsubscribeURL": f"{HOST}/?Action=Unsubscribe"}
        else:
            made |= {
                "Token": TOKEN,
                "Message": f"You have chosen to subscribe to the topic {ARN}.\nTo confirm, visit the SubscribeURL.",
                "SubscribeURL": f"{HOST}/?Action=ConfirmSubscription&TopicArn={ARN}&Token={TOKEN}",
            }
        return {name: value for name, value in (made | changes).items() if value is not None}

    def signed(self, kind: str = "Notification", *, by: str = "sns", **changes: Any) -> dict[str, Any]:
        message = self.message(kind, **changes)
        return message | {"Signature": signature(message, rsa_key(by))}


def signature(message: Mapping[str, Any], key: rsa.RSAPrivateKey) -> str:
    """Amazon SNS Developer Guide, "Verifying the signatures of Amazon SNS messages", written down once more."""
    text = ""
    for name in SIGNED[message["Type"]]:
        if name in message:
            text += name + "\n" + message[name] + "\n"
    digest = SHA256() if message["SignatureVersion"] == "2" else SHA1()  # noqa: S303
    return base64.b64encode(key.sign(text.encode(), padding.PKCS1v15(), digest)).decode()


def enveloped(message: object, **headers: str) -> Envelope:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return Envelope(headers={"content-type": "text/plain; charset=UTF-8"} | headers, query={}, body=body)
