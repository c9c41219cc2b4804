"""SNS over HTTPS: every message is signed, whoever carries it.

Amazon SNS Developer Guide, "Fanout Amazon SNS notifications to HTTPS endpoints". Only topics of the configuration are
listened to; their messages are verified before anything is done. A message that comes twice, or again within the hour,
is a hint that comes twice. Raw delivery leaves signature and envelope out and is refused: a subscription that must be
raw is a source of kind `s3_event`, with its secret as the password in the endpoint's URL.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm

from broker.domain.errors import NotAuthentic
from broker.doors.bodies import open_published
from broker.doors.sns_keys import SigningKeys
from broker.doors.sns_message import Message, parse_message
from broker.doors.sns_topic import Topic
from broker.ports import Clock, Envelope, Opened, Pages

_log = logging.getLogger("broker.sns")

HASHES: Mapping[str, HashAlgorithm] = {"1": SHA1(), "2": SHA256()}  # noqa: S303 - what SNS signs with by default

SKEW = timedelta(minutes=15)  # ours, as AWS allows for requests
# "Amazon SNS message delivery retries": an HTTP endpoint is tried for 3,600 seconds at most, a hard limit. `Timestamp`
# is when the message was published; what is older than the last try, on a clock that is wrong, is a replay.
MAX_AGE = timedelta(hours=1) + SKEW
MAX_ANSWER_BYTES = 65_536  # ours; the answer to a confirmation is a few lines of XML

_NOTHING = Opened(hints=(), ignored=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnsDoor:
    """
    :param topics: by ARN: those that may speak here.
    :param versions: of signatures that are good enough: "1" is SHA-1, "2" is SHA-256.
    """

    destinations: Sequence[str]
    topics: Mapping[str, Topic]
    versions: Collection[str]
    keys: SigningKeys
    pages: Pages
    clock: Clock

    async def open(self, envelope: Envelope) -> Opened:
        """:raises SenderUnavailable: what proves it cannot be had, or SNS cannot be told that it may send."""
        try:
            message = parse_message(envelope.body)
            topic = await self._prove(message)
        except NotAuthentic as refusal:
            is_raw = envelope.headers.get("x-amz-sns-rawdelivery", "") == "true"
            _log.warning("sns.refused", extra={"why": "raw delivery" if is_raw else refusal.detail})
            raise NotAuthentic from None  # which of the questions it was is nobody else's business
        match message.type:
            case "Notification":
                return open_published(message.message)
            case "SubscriptionConfirmation":
                await self._confirm(topic, message)
            case "UnsubscribeConfirmation":
                _log.warning("sns.unsubscribed", extra={"topic": topic.arn})
        return _NOTHING

    async def _prove(self, message: Message) -> Topic:
        """Cheap questions first: a stranger makes us ask for a certificate only if he can name a topic of ours."""
        topic, now = self.topics.get(message.topic_arn), self.clock.now()
        if topic is None:
            raise NotAuthentic("topic")
        if not now - MAX_AGE <= message.sent_at <= now + SKEW:
            raise NotAuthentic("age")
        algorithm = HASHES.get(message.signature_version)
        if algorithm is None or message.signature_version not in self.versions:
            raise NotAuthentic("signature version")
        signature = message.signature_bytes
        if not topic.is_certificate(message.signing_cert_url):
            raise NotAuthentic("address of the certificate")
        key = await self.keys.find(message.signing_cert_url)
        if key is None:
            raise NotAuthentic("certificate")
        if not _has_signed(key, signature, message.signed_text, algorithm):
            raise NotAuthentic("signature")
        return topic

    async def _confirm(self, topic: Topic, message: Message) -> None:
        """Not by the URL in the message, though it is signed: we know how to ask, and whom."""
        page = await self.pages.get(topic.confirmation(message.token or ""), at_most_bytes=MAX_ANSWER_BYTES)
        event = "sns.not-confirmed" if page is None else "sns.subscribed"
        _log.log(logging.WARNING if page is None else logging.INFO, event, extra={"topic": topic.arn})


def _has_signed(key: RSAPublicKey, signature: bytes, text: bytes, algorithm: HashAlgorithm) -> bool:
    try:
        key.verify(signature, text, PKCS1v15(), algorithm)
    except (InvalidSignature, UnsupportedAlgorithm):  # a system's policy may know no SHA-1 any more
        return False
    return True
