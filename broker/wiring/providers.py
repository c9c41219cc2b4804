"""Which adapter each `provider` and each `kind` of source is. A new one is its folder and its line here."""

from collections.abc import Callable, Mapping, Sequence

import aiohttp

from broker.doors.eventbridge import EventBridgeDoor
from broker.doors.s3_event import S3EventDoor
from broker.doors.sns import SnsDoor
from broker.doors.sns_keys import SigningKeys
from broker.doors.sns_topic import Topic
from broker.ports import Bucket, Clock, Door, Pages
from broker.settings import (
    DestinationSettings,
    EventBridgeSource,
    S3EventSource,
    Secret,
    SnsSource,
    SourceSettings,
    SqsSource,
)
from broker.wiring.credentials import Keyring
from broker.wiring.queues import address_of
from broker.wiring.s3 import s3_bucket

BUCKETS: Mapping[str, Callable[[str, DestinationSettings, aiohttp.ClientSession, Clock, Keyring], Bucket]] = {
    "s3": s3_bucket
}


def buckets_of(
    destinations: Mapping[str, DestinationSettings], http: aiohttp.ClientSession, clock: Clock, keyring: Keyring
) -> dict[str, Bucket]:
    """:raises ConfigurationInvalid: a destination that its store cannot keep."""
    return {name: BUCKETS[place.provider](name, place, http, clock, keyring) for name, place in destinations.items()}


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
        case SqsSource():
            address_of(name, source)  # what does not fit is said by every process
            return None


def _revealed(secrets: Sequence[Secret]) -> tuple[str, ...]:
    return tuple(secret.reveal() for secret in secrets)
