"""The whole loop on one machine: private Redis, strict S3 emulator, broker, looker, consumer. Never production."""

import base64
import os
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from broker.dev.children import Child
from broker.dev.redis_server import RedisServer, start_redis
from broker.dev.stack_config import BUCKET, REGION, StackOptions, bucket_of, write_config, zone_key
from broker.domain.principals import new_key_text

__all__ = ["BUCKET", "REGION", "Announcement", "Stack", "StackOptions", "bucket_of", "start_stack"]

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH", "PYTHONWARNINGS")


class Announcement(Struct, frozen=True, kw_only=True):
    """What `upload-broker dev --json` prints when everything is ready."""

    broker: str
    api_key: str
    consumer_key: str
    store: str
    access_key: str
    secret_key: str
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
    broker: Child
    lookers: list[Child]
    consumers: list[Child]
    endpoints: Mapping[str, str]  # by destination
    about: Announcement

    def stop(self) -> None:
        """Outermost first, so that nobody complains about who is gone."""
        for child in (*self.consumers, self.broker, *self.lookers, self.store, *([self.away] if self.away else [])):
            child.stop()
        self.redis.stop()


def start_stack(options: StackOptions) -> Stack:
    """:raises ConfigurationInvalid: a part did not start; whatever did is stopped."""
    directory = options.directory
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    redis_fsync: Literal["always", "everysec"] = "always" if options.durability == "strict" else "everysec"
    redis = start_redis(_made(directory / "redis"), appendfsync=redis_fsync)
    started: list[Child] = []
    try:
        return _start_children(options, redis, started)
    except BaseException:
        for child in reversed(started):
            child.stop()
        redis.stop()
        raise


def _start_children(options: StackOptions, redis: RedisServer, started: list[Child]) -> Stack:
    directory = options.directory
    known = _credentials(directory / "credentials.json", options.zones)
    port = options.port or _free_port()
    broker_url = f"http://127.0.0.1:{port}"
    tells = f"{broker_url}/notifications/dev?token={known['event_token']}"
    argv = _store_argv("objects", options, known, options.here, tells, options.store_port, options.faults)
    store = _child("store", directory, argv, {})
    started.append(store)
    endpoints = dict.fromkeys(options.here, str(store.start()["endpoint"]))
    away = None
    if options.away:  # always at the same port: it comes back where it was
        argv = _store_argv("away", options, known, options.away, tells, _free_port(), options.faults_away)
        away = _child("away", directory, argv, {})
        started.append(away)
        endpoints |= dict.fromkeys(options.away, str(away.start()["endpoint"]))
    config = write_config(options, known, endpoints, redis.url, port)
    serve = ["broker", "serve", "--config", str(config), "--json", *(["--no-look"] if options.lookers else [])]
    broker = _child("broker", directory, serve, _broker_secrets(known))
    started.append(broker)
    broker.start()
    look = ["broker", "look", "--config", str(config), "--json"]
    lookers = [_child(f"looker-{n}", directory, look, _broker_secrets(known)) for n in range(options.lookers)]
    consumers = [_consumer(n, options, known, broker_url) for n in range(options.consumers)]
    for child in (*lookers, *consumers):
        started.append(child)
        child.start()
    about = Announcement(
        broker=broker_url,
        api_key=known["api_key"],
        consumer_key=known["consumer_key"],
        store=endpoints["default"],
        access_key=known["access_key"],
        secret_key=known["secret_key"],
        bucket=BUCKET,
        redis=redis.url,
    )
    return Stack(
        options=options,
        redis=redis,
        store=store,
        away=away,
        broker=broker,
        lookers=lookers,
        consumers=consumers,
        endpoints=endpoints,
        about=about,
    )


def _child(
    name: str, directory: Path, module: list[str], env: Mapping[str, str], *, is_announced: bool = True
) -> Child:
    kept = {key: value for key, value in os.environ.items() if key in _KEPT or key.startswith("OTEL_")}
    return Child(
        name=name,
        argv=[sys.executable, "-m", *module],
        env=kept | dict(env),
        directory=directory,
        is_announced=is_announced,
    )


def _consumer(number: int, options: StackOptions, known: Mapping[str, str], broker_url: str) -> Child:
    """All that a consumer is given: where the broker is, and its own role key."""
    key = known[zone_key(number) if number < len(options.zones) else "consumer_key"]
    env = {"BROKER_URL": broker_url, "BROKER_CONSUMER_KEY": key, "PYTHONUNBUFFERED": "1"}
    module = [options.consumer_module] if options.consumer_module else []
    name = f"consumer-{number}"
    argv = ["consumer", "run", "--worker", name, *module]
    return _child(name, options.directory, argv, env, is_announced=False)


def _store_argv(
    data: str,
    options: StackOptions,
    known: Mapping[str, str],
    destinations: Sequence[str],
    tells: str,
    port: int,
    faults: Mapping[str, object],
) -> list[str]:
    account = f"dev:{known['access_key']}:{known['secret_key']}"
    argv = [
        "emulators",
        "s3",
        "--listen",
        f"127.0.0.1:{port}",
        "--data",
        str(_made(options.directory / data)),
        "--json",
    ]
    argv += ["--account", account, "--region", REGION, "--cors-origin", "*"]
    for name in destinations:
        argv += ["--bucket", bucket_of(name), "--notify", f"{bucket_of(name)}={tells}"]
    return argv + (["--faults", msgspec.json.encode(faults).decode()] if faults else [])


def _broker_secrets(known: Mapping[str, str]) -> dict[str, str]:
    return {
        "DEV_CAPSULE_KEY": known["capsule_key"],
        "DEV_EVENT_TOKEN": known["event_token"],
        "DEV_SECRET_KEY": known["secret_key"],
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


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
