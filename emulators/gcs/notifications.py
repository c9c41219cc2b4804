"""Notification configurations of a bucket.

Source: https://cloud.google.com/storage/docs/json_api/v1/notifications.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from emulators.gcs.context import Call, Reply, Store, json_reply
from emulators.gcs.errors import GcsError
from emulators.gcs.events import EVENT_TYPES
from emulators.gcs.records import Bucket, Notification
from emulators.gcs.resource import etag
from emulators.gcs.settings import Notify

MAX_CONFIGS: Final = 100  # pubsub-notifications: "up to 100 notification configurations per bucket"
_TOPIC: Final = re.compile(r"//pubsub\.googleapis\.com/(projects/[^/]+/topics/[^/]+)")


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of an insert, as its page has it: words with underscores."""

    topic: str
    payload_format: str = "JSON_API_V1"
    event_types: tuple[str, ...] = ()
    custom_attributes: dict[str, str] = {}
    object_name_prefix: str = ""


def ensure(bucket: Bucket, wanted: Iterable[Notify]) -> Bucket:
    """The bucket with what the command line says: one configuration a topic, at the address of today."""
    for notify in wanted:
        known = [each for each in bucket.notifications if each.topic == notify.topic]
        if known:
            there = tuple(
                msgspec.structs.replace(each, url=notify.url) if each in known else each
                for each in bucket.notifications
            )
            bucket = msgspec.structs.replace(bucket, notifications=there)
        else:
            bucket, _ = _added(bucket, Wish(topic=notify.topic), notify.url)
    return bucket


def _added(bucket: Bucket, wish: Wish, url: str | None) -> tuple[Bucket, Notification]:
    config = Notification(
        id=str(bucket.next_notification),
        topic=wish.topic,
        url=url,
        event_types=wish.event_types,
        attributes=wish.custom_attributes,
        prefix=wish.object_name_prefix,
        payload_format=wish.payload_format,
    )
    changed = msgspec.structs.replace(
        bucket, notifications=(*bucket.notifications, config), next_notification=bucket.next_notification + 1
    )
    return changed, config


async def insert(store: Store, call: Call) -> Reply:
    call.bucket(store, "storage.buckets.update")
    document = await store.intake.document(call.http, call.request)
    try:
        wish = msgspec.json.decode(document, type=Wish)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise GcsError("InvalidArgument", f"Not a notification configuration: {exc}") from exc
    match = _TOPIC.fullmatch(wish.topic)
    if match is None or wish.payload_format not in {"JSON_API_V1", "NONE"} or set(wish.event_types) - {*EVENT_TYPES}:
        raise GcsError("InvalidArgument", "A topic's full name, a known payload_format and known event_types, please.")
    bucket = store.bucket(call.request.target.bucket)
    if len(bucket.notifications) >= MAX_CONFIGS:
        raise GcsError("InvalidArgument", f"A bucket has at most {MAX_CONFIGS} notification configurations.")
    url = f"{store.settings.pubsub}/v1/{match[1]}" if store.settings.pubsub else None
    bucket, config = _added(bucket, wish, url)
    store.catalogue.put_bucket(bucket)
    return json_reply(msgspec.json.encode(_resource(call, bucket, config)), is_write=True)


async def list_configs(store: Store, call: Call) -> Reply:
    bucket = call.bucket(store, "storage.buckets.get")
    listed: dict[str, Any] = {"kind": "storage#notifications"}
    if bucket.notifications:
        listed["items"] = [_resource(call, bucket, each) for each in bucket.notifications]
    return json_reply(msgspec.json.encode(listed))


async def get(store: Store, call: Call) -> Reply:
    bucket = call.bucket(store, "storage.buckets.get")
    return json_reply(msgspec.json.encode(_resource(call, bucket, _named(call, bucket))))


async def delete(store: Store, call: Call) -> Reply:
    bucket = call.bucket(store, "storage.buckets.update")
    gone = _named(call, bucket)
    left = tuple(each for each in bucket.notifications if each is not gone)
    store.catalogue.put_bucket(msgspec.structs.replace(bucket, notifications=left))
    return Reply(status=204, is_write=True)


def _named(call: Call, bucket: Bucket) -> Notification:
    for each in bucket.notifications:
        if each.id == call.request.target.name:
            return each
    raise GcsError("NotFound", f"Notification not found: {call.request.target.name}")


def _resource(call: Call, bucket: Bucket, config: Notification) -> dict[str, Any]:
    seen: dict[str, Any] = {
        "kind": "storage#notification",
        "id": config.id,
        "selfLink": f"{call.endpoint}/storage/v1/b/{bucket.name}/notificationConfigs/{config.id}",
        "etag": etag(0, int(config.id)),
        "topic": config.topic,
        "payload_format": config.payload_format,
    }
    if config.event_types:
        seen["event_types"] = list(config.event_types)
    if config.attributes:
        seen["custom_attributes"] = dict(config.attributes)
    if config.prefix:
        seen["object_name_prefix"] = config.prefix
    return seen
