"""The whole loop on one machine: private Redis, strict emulators, broker, looker, consumer. Never production."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from broker.dev.children import Child, Started, free_port, python_child
from broker.dev.cloud import BUCKET, Cloud, bucket_of
from broker.dev.gcs_cloud import start_gcs_cloud
from broker.dev.redis_server import RedisServer, start_redis
from broker.dev.s3_cloud import start_s3_cloud
from broker.dev.stack_config import REGION, StackOptions, write_config, zone_key
from broker.domain.principals import new_key_text

__all__ = ["BUCKET", "REGION", "Announcement", "Stack", "StackOptions", "bucket_of", "start_stack"]


class Announcement(Struct, frozen=True, kw_only=True):
    """What `upload-broker dev --json` prints when everything is ready; what a provider has not is left out.

    :param owner_key_file: of a service account that may do everything in the buckets, as the access key may on S3.
    """

    broker: str
    api_key: str
    consumer_key: str
    store: str
    access_key: str | UnsetType = UNSET
    secret_key: str | UnsetType = UNSET
    owner_key_file: str | UnsetType = UNSET
    iam: str | UnsetType = UNSET
    pubsub: str | UnsetType = UNSET
    bucket: str
    redis: str

    def __repr__(self) -> str:
        return f"Announcement(broker={self.broker!r}, store={self.store!r})"


@dataclass(slots=True, kw_only=True)
class Stack:
    """Parts that can be killed and started again one by one; `start` and `stop` do all of them."""

    options: StackOptions
    redis: RedisServer
    store: Child
    away: Child | None  # the store of what is away
    others: Sequence[Child]  # what the store needs beside it
    broker: Child
    lookers: list[Child]
    consumers: list[Child]
    endpoints: Mapping[str, str]  # by destination
    about: Announcement

    def stop(self) -> None:
        """Outermost first, so that nobody complains about who is gone."""
        stores = [self.store, *([self.away] if self.away else []), *self.others]
        for child in (*self.consumers, self.broker, *self.lookers, *stores):
            child.stop()
        self.redis.stop()


def start_stack(options: StackOptions) -> Stack:
    """:raises ConfigurationInvalid: a part did not start; whatever did is stopped."""
    directory = options.directory
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    redis_fsync: Literal["always", "everysec"] = "always" if options.durability == "strict" else "everysec"
    redis = start_redis(options.made("redis"), appendfsync=redis_fsync)
    started = Started()
    try:
        return _start_children(options, redis, started)
    except BaseException:
        started.stop()
        redis.stop()
        raise


def _start_children(options: StackOptions, redis: RedisServer, started: Started) -> Stack:
    directory = options.directory
    known = _credentials(directory / "credentials.json", options.zones)
    port = options.port or free_port()
    broker_url = f"http://127.0.0.1:{port}"
    cloud = _start_cloud(options, known, broker_url, started)
    config = write_config(options, known, cloud, redis.url, port)
    serve = ["broker", "serve", "--config", str(config), "--json", *(["--no-look"] if options.lookers else [])]
    secret = {**_broker_secrets(known), **cloud.secrets}
    broker = python_child("broker", directory, serve, secret)
    started.start(broker)
    look = ["broker", "look", "--config", str(config), "--json"]
    lookers = [python_child(f"looker-{n}", directory, look, secret) for n in range(options.lookers)]
    consumers = [_consumer(n, options, known, broker_url) for n in range(options.consumers)]
    for child in (*lookers, *consumers):
        started.start(child)
    about = Announcement(
        broker=broker_url,
        api_key=known["api_key"],
        consumer_key=known["consumer_key"],
        store=cloud.endpoints["default"],
        bucket=BUCKET,
        redis=redis.url,
        **cloud.announced,
    )
    return Stack(
        options=options,
        redis=redis,
        store=cloud.store,
        away=cloud.away,
        others=cloud.others,
        broker=broker,
        lookers=lookers,
        consumers=consumers,
        endpoints=cloud.endpoints,
        about=about,
    )


def _start_cloud(options: StackOptions, known: Mapping[str, str], broker_url: str, started: Started) -> Cloud:
    if options.provider == "gcs":
        return start_gcs_cloud(options, known, broker_url, started)
    return start_s3_cloud(options, known, broker_url, started)


def _consumer(number: int, options: StackOptions, known: Mapping[str, str], broker_url: str) -> Child:
    """All that a consumer is given: where the broker is, and its own role key."""
    key = known[zone_key(number) if number < len(options.zones) else "consumer_key"]
    env = {"BROKER_URL": broker_url, "BROKER_CONSUMER_KEY": key, "PYTHONUNBUFFERED": "1"}
    module = [options.consumer_module] if options.consumer_module else []
    name = f"consumer-{number}"
    argv = ["consumer", "run", "--worker", name, *module]
    return python_child(name, options.directory, argv, env, is_announced=False)


def _broker_secrets(known: Mapping[str, str]) -> dict[str, str]:
    return {
        "DEV_CAPSULE_KEY": known["capsule_key"],
        "DEV_WEBHOOK_SECRET": known["webhook_secret"],
    }


def _credentials(path: Path, zones: Sequence[object]) -> dict[str, str]:
    """Made once and kept beside the data, so that a restarted stack knows its own."""
    kept = msgspec.json.decode(path.read_bytes(), type=dict[str, str]) if path.exists() else {}
    fresh = {
        "api_key": new_key_text("app"),
        "consumer_key": new_key_text("worker"),
        "event_token": secrets.token_urlsafe(24),
        "capsule_key": secrets.token_urlsafe(48),
        "encryption_key": secrets.token_urlsafe(48),
        "access_key": "DEV" + secrets.token_hex(8).upper(),
        "secret_key": secrets.token_urlsafe(30),
        "webhook_secret": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        **{zone_key(number): new_key_text(f"zone-{number}") for number in range(len(zones))},
    }
    known = fresh | kept
    if known != kept:  # none yet, or of an older version that needed fewer
        path.touch(mode=0o600)
        path.write_bytes(msgspec.json.encode(known))
    return known
