"""Which adapter each `provider` and each `kind` of source is. A new one is its folder and its line here."""

from collections.abc import Callable, Mapping

import aiohttp

from broker.doors.s3_event import S3EventDoor
from broker.ports import Bucket, Clock, Door
from broker.settings import DestinationSettings, S3EventSource, SourceSettings, SqsSource
from broker.wiring.credentials import Keyring
from broker.wiring.s3 import s3_bucket

BUCKETS: Mapping[str, Callable[[str, DestinationSettings, aiohttp.ClientSession, Clock, Keyring], Bucket]] = {
    "s3": s3_bucket
}


def buckets_of(
    destinations: Mapping[str, DestinationSettings], http: aiohttp.ClientSession, clock: Clock, keyring: Keyring
) -> dict[str, Bucket]:
    """:raises ConfigurationInvalid: a destination that its store cannot keep."""
    return {name: BUCKETS[place.provider](name, place, http, clock, keyring) for name, place in destinations.items()}


def doors_of(sources: Mapping[str, SourceSettings]) -> dict[str, Door]:
    """Of those that come to us; a queue has none, we go to it."""
    doors = {name: _door_of(source) for name, source in sources.items()}
    return {name: door for name, door in doors.items() if door is not None}


def _door_of(source: SourceSettings) -> Door | None:
    match source:
        case S3EventSource():
            tokens = tuple(secret.reveal() for secret in source.tokens)
            return S3EventDoor(destinations=source.destinations, tokens=tokens)
        case SqsSource():
            return None
