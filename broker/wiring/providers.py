"""Which adapter each `provider` and each `kind` of source is. A new one is its folder and its line here."""

from collections.abc import Mapping, Sequence

import aiohttp

from broker.domain.policy import Destination
from broker.doors.eventbridge import EventBridgeDoor
from broker.doors.google_certificates import GoogleCertificates
from broker.doors.google_tokens import GoogleTokens
from broker.doors.pubsub_push import PubsubPushDoor
from broker.doors.s3_event import S3EventDoor
from broker.doors.sns import SnsDoor
from broker.doors.sns_keys import SigningKeys
from broker.doors.sns_topic import Topic
from broker.ports import Bucket, Clock, Door, Pages
from broker.settings import (
    DestinationSettings,
    EventBridgeSource,
    GcsDestination,
    PubsubPushSource,
    PubsubSource,
    S3Destination,
    S3EventSource,
    Secret,
    SnsSource,
    SourceSettings,
    SqsSource,
)
from broker.wiring.credentials import Keyring
from broker.wiring.gcs import gcs_bucket, gcs_destination
from broker.wiring.queues import address_of
from broker.wiring.s3 import s3_bucket, s3_destination


def buckets_of(
    destinations: Mapping[str, DestinationSettings], http: aiohttp.ClientSession, clock: Clock, keyring: Keyring
) -> dict[str, Bucket]:
    """:raises ConfigurationInvalid: a destination that its store cannot keep."""
    return {name: _bucket_of(name, place, http, clock, keyring) for name, place in destinations.items()}


def destination_of(name: str, place: DestinationSettings) -> Destination:
    """:raises ConfigurationInvalid: nobody says where it is."""
    match place:
        case S3Destination():
            return s3_destination(name, place)
        case GcsDestination():
            return gcs_destination(name, place)


def _bucket_of(
    name: str, place: DestinationSettings, http: aiohttp.ClientSession, clock: Clock, keyring: Keyring
) -> Bucket:
    match place:
        case S3Destination():
            return s3_bucket(name, place, http, clock, keyring)
        case GcsDestination():
            return gcs_bucket(name, place, http, clock, keyring)


def doors_of(sources: Mapping[str, SourceSettings], pages: Pages, clock: Clock) -> dict[str, Door]:
    """Of those that come to us; a queue has none, we go to it.

    :raises ConfigurationInvalid: a topic that is none, or a secret that is not there.
    """
    keys = SigningKeys(pages=pages, clock=clock)
    doors = {name: _door_of(name, source, keys, pages, clock) for name, source in sources.items()}
    return {name: door for name, door in doors.items() if door is not None}


def _door_of(name: str, source: SourceSettings, keys: SigningKeys, pages: Pages, clock: Clock) -> Door | None:
    match source:
        case S3EventSource():
            return S3EventDoor(destinations=source.destinations, tokens=_revealed(source.tokens))
        case EventBridgeSource():
            tokens, header = _revealed(source.tokens), source.key_header.lower()
            return EventBridgeDoor(destinations=source.destinations, tokens=tokens, key_header=header)
        case SnsSource():
            return SnsDoor(
                destinations=source.destinations,
                topics={arn: Topic.parse(arn) for arn in source.topic_arns},
                versions=source.signature_versions,
                keys=keys,
                pages=pages,
                clock=clock,
            )
        case PubsubPushSource():
            return _push_door(source, pages, clock)
        case SqsSource():
            address_of(name, source)  # what does not fit is said by every process
            return None
        case PubsubSource():
            return None


def _push_door(source: PubsubPushSource, pages: Pages, clock: Clock) -> Door:
    return PubsubPushDoor(
        destinations=source.destinations,
        tokens=GoogleTokens(
            audience=source.audience,
            service_accounts=frozenset(source.service_accounts),
            certificates=GoogleCertificates(url=source.certs_url, pages=pages, clock=clock),
        ),
        subscriptions=frozenset(source.subscriptions),
    )


def _revealed(secrets: Sequence[Secret]) -> tuple[str, ...]:
    return tuple(secret.reveal() for secret in secrets)
