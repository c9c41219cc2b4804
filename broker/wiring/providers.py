"""Which adapter each `provider` and each `kind` of source is. A new one is its folder and its line here."""

from collections.abc import Callable, Mapping

import aiohttp

from broker.doors.s3_event import S3EventDoor
from broker.ports import Bucket, Clock, Door
from broker.settings import DestinationSettings, SourceSettings
from broker.wiring.s3 import s3_bucket


def _s3_event_door(source: SourceSettings) -> Door:
    return S3EventDoor(destinations=source.destinations, tokens=tuple(secret.reveal() for secret in source.tokens))


BUCKETS: Mapping[str, Callable[[str, DestinationSettings, aiohttp.ClientSession, Clock], Bucket]] = {"s3": s3_bucket}
DOORS: Mapping[str, Callable[[SourceSettings], Door]] = {"s3_event": _s3_event_door}


def buckets_of(
    destinations: Mapping[str, DestinationSettings], http: aiohttp.ClientSession, clock: Clock
) -> dict[str, Bucket]:
    """:raises ConfigurationInvalid: a destination that its store cannot keep."""
    return {name: BUCKETS[place.provider](name, place, http, clock) for name, place in destinations.items()}


def doors_of(sources: Mapping[str, SourceSettings]) -> dict[str, Door]:
    return {name: DOORS[source.kind](source) for name, source in sources.items()}
