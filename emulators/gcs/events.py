"""What happened to an object, as the message that Pub/Sub is given.

Source: https://cloud.google.com/storage/docs/pubsub-notifications – attributes, event types, payload `JSON_API_V1`.
"""

import base64
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from emulators.gcs.counters import Counters
from emulators.gcs.faults import Faults
from emulators.gcs.records import Bucket, Notification, Post, Stored
from emulators.gcs.resource import object_json, rfc3339

FINALIZE: Final = "OBJECT_FINALIZE"
DELETE: Final = "OBJECT_DELETE"
ARCHIVE: Final = "OBJECT_ARCHIVE"
METADATA_UPDATE: Final = "OBJECT_METADATA_UPDATE"
EVENT_TYPES: Final = (FINALIZE, DELETE, ARCHIVE, METADATA_UPDATE)
API: Final = "https://www.googleapis.com"  # what the links of a payload begin with, wherever the object was written


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`other_generation` is the one that this one replaced, or was replaced by."""

    kind: str
    stored: Stored
    other_generation: int | None = None


def written(bucket: Bucket, stored: Stored, replaced: Stored | None) -> Sequence[Event]:
    """An object came, and maybe another had to give way."""
    if replaced is None:
        return (Event(kind=FINALIZE, stored=stored),)
    gone = ARCHIVE if bucket.is_versioned else DELETE
    return (
        Event(kind=FINALIZE, stored=stored, other_generation=replaced.generation),
        Event(kind=gone, stored=replaced, other_generation=stored.generation),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """Makes messages of events, and misbehaves when told to."""

    faults: Faults
    counters: Counters

    def of(self, bucket: Bucket, events: Iterable[Event]) -> list[Post]:
        return [post for event in events for config in bucket.notifications for post in self._of(bucket, config, event)]

    def _of(self, bucket: Bucket, config: Notification, event: Event) -> Iterable[Post]:
        if config.url is None or not _wants(config, event):
            return
        self.counters.events["created"] += 1
        if self.faults.hits("events_lost"):
            self.counters.events["lost"] += 1
            return
        body = msgspec.json.encode({"messages": [_message(bucket, config, event)]})
        yield Post(url=config.url, body=body, due=time.time() + self._delay())
        if self.faults.hits("events_doubled"):
            self.counters.events["doubled"] += 1
            yield Post(url=config.url, body=body, due=time.time() + self._delay())

    def _delay(self) -> float:
        delay = self.faults.settings.late_seconds
        if self.faults.hits("events_reordered"):
            self.counters.events["reordered"] += 1
            delay += self.faults.amount("reorder_seconds")
        return delay


def _wants(config: Notification, event: Event) -> bool:
    return event.stored.name.startswith(config.prefix) and event.kind in (config.event_types or EVENT_TYPES)


def _message(bucket: Bucket, config: Notification, event: Event) -> dict[str, object]:
    attributes = {
        **config.attributes,
        "notificationConfig": f"projects/_/buckets/{bucket.name}/notificationConfigs/{config.id}",
        "eventType": event.kind,
        "payloadFormat": config.payload_format,
        "bucketId": bucket.name,
        "objectId": event.stored.name,
        "objectGeneration": str(event.stored.generation),
        "eventTime": rfc3339(time.time()),
    }
    if event.other_generation is not None:
        name = "overwroteGeneration" if event.kind == FINALIZE else "overwrittenByGeneration"
        attributes[name] = str(event.other_generation)
    if config.payload_format == "NONE":
        return {"attributes": attributes}
    payload = object_json(API, bucket.name, event.stored)
    return {"data": base64.b64encode(payload).decode(), "attributes": attributes}
