"""Makes at the bucket what can be made there without taking anything away: CORS, lifecycle, notification.

Done with google-cloud-storage, by the operator's own credential. Rules of others stay; what is there already is not
made twice; a change that somebody else makes at the same moment is never overwritten (`ifMetagenerationMatch`). Rights,
access settings, topic and subscriptions are not touched: `setup gcs --print` says how to make those.
"""

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

import msgspec
from google.api_core.exceptions import GoogleAPICallError, PreconditionFailed
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import Bucket, Client  # type: ignore[import-untyped]
from msgspec import Struct
from requests import RequestException

from broker.domain.errors import ConfigurationInvalid, StoreRefused
from broker.setup.gcs.documents import GcsDocuments
from broker.setup.gcs.senders import Notification

_TRIES = 3  # somebody else changed the bucket between our look and our change


class Done(StrEnum):
    UNCHANGED = "unchanged"
    ADDED = "added"
    NOT_WANTED = "not wanted"


class Applied(Struct, frozen=True, kw_only=True):
    what: str
    done: Done


def open_client(endpoint: str) -> Client:
    """With application default credentials: an operator's, not the broker's.

    :raises ConfigurationInvalid: there are none.
    """
    try:
        return Client(client_options={"api_endpoint": endpoint})
    except (GoogleAuthError, OSError) as exc:
        raise ConfigurationInvalid(f"no credential of yours: gcloud auth application-default login ({exc})") from exc


def apply(client: Client, bucket_name: str, documents: GcsDocuments) -> Iterator[Applied]:
    """One after the other, each told as it is done.

    :raises StoreRefused: with the store's own words; what was told before is done.
    """
    try:
        yield Applied(what="CORS", done=_with_rules(client, bucket_name, documents, _add_cors))
        yield Applied(what="lifecycle", done=_with_rules(client, bucket_name, documents, _add_lifecycle))
        yield Applied(what="notification", done=_notify(client.bucket(bucket_name), documents.notification))
    except (GoogleAPICallError, GoogleAuthError, RequestException) as exc:
        raise StoreRefused(f"{bucket_name}: {exc}") from exc


def _with_rules(
    client: Client, bucket_name: str, documents: GcsDocuments, add: Callable[[Bucket, GcsDocuments], Done]
) -> Done:
    """Reads, decides and writes again until nobody came in between."""
    for tries_left in reversed(range(_TRIES)):
        bucket = client.get_bucket(bucket_name)
        done = add(bucket, documents)
        if done is not Done.ADDED:
            return done
        try:
            bucket.patch(if_metageneration_match=bucket.metageneration)
        except PreconditionFailed:
            if not tries_left:
                raise
        else:
            return done
    raise AssertionError("the last try returns or raises")


def _add_cors(bucket: Bucket, documents: GcsDocuments) -> Done:
    wanted: list[dict[str, Any]] = _plain(documents.bucket.cors)
    if not wanted:
        return Done.NOT_WANTED
    there = [*bucket.cors]
    missing = [rule for rule in wanted if not any(_covers(each, rule) for each in there)]
    if missing:
        bucket.cors = [*there, *missing]
    return Done.ADDED if missing else Done.UNCHANGED


def _covers(there: dict[str, Any], rule: dict[str, Any]) -> bool:
    return all(_has_all(there.get(name, ()), rule[name]) for name in ("origin", "method", "responseHeader"))


def _has_all(there: list[str], wanted: list[str]) -> bool:
    return "*" in there or {each.lower() for each in wanted} <= {each.lower() for each in there}


def _add_lifecycle(bucket: Bucket, documents: GcsDocuments) -> Done:
    wanted: list[dict[str, Any]] = _plain(documents.bucket.lifecycle.rule)
    there = [dict(each) for each in bucket.lifecycle_rules]
    missing = [rule for rule in wanted if rule not in there]
    if missing:
        bucket.lifecycle_rules = [*there, *missing]
    return Done.ADDED if missing else Done.UNCHANGED


def _notify(bucket: Bucket, wanted: Notification | None) -> Done:
    if wanted is None:
        return Done.NOT_WANTED
    _, _, _, _, project, _, topic = wanted.topic.split("/")
    for each in bucket.list_notifications():
        is_same_topic = (each.topic_project, each.topic_name) == (project, topic)
        is_told = wanted.object_name_prefix.startswith(each.blob_name_prefix or "")
        tells_all = not each.event_types or set(wanted.event_types) <= set(each.event_types)
        if is_same_topic and is_told and tells_all and each.payload_format == wanted.payload_format:
            return Done.UNCHANGED
    bucket.notification(
        topic_name=topic,
        topic_project=project,
        event_types=list(wanted.event_types),
        blob_name_prefix=wanted.object_name_prefix,
        payload_format=wanted.payload_format,
    ).create()
    return Done.ADDED


def _plain(rules: object) -> list[dict[str, Any]]:
    """As the JSON API gives them back."""
    plain: list[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(rules))
    return plain
