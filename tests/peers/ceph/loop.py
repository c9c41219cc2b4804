"""A broker and a consumer on a bucket of a real Ceph, configured as an operator of Ceph is told to.

PUTs are signed with the credential of another account than the bucket's, which the bucket's policy keeps from reading:
hence `accept_unsigned_headers`.
"""

import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from broker.dev.children import Child
from broker.dev.redis_server import start_redis
from broker.domain.principals import hash_of, new_key_text
from tests.contracts.storage.s3.stores import S3Store


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopOptions:
    bucket: str  # behind the guard
    directory: Path
    first_look: str
    page_origins: Sequence[str] = ()
    multipart: Mapping[str, int] = field(default_factory=dict)
    more: str = ""  # configuration, as TOML
    env: Mapping[str, str] = field(default_factory=dict)
    has_consumer: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A running one. Whoever knows `event_token` may tell it of what is in the bucket."""

    url: str
    api_key: str
    event_token: str
    env: Mapping[str, str]  # the broker's own secrets


@contextmanager
def running_loop(store: S3Store, options: LoopOptions) -> Iterator[Loop]:
    directory = options.directory
    api_key, consumer_key, token = new_key_text("app"), new_key_text("worker"), secrets.token_urlsafe(24)
    with ExitStack() as stack:
        (directory / "redis").mkdir()
        redis = start_redis(directory / "redis")
        stack.callback(redis.stop)
        (directory / "broker.toml").write_text(_configuration(store, options, redis.url, api_key, consumer_key))
        env = {
            "CAPSULE_KEY": secrets.token_urlsafe(48),
            "EVENT_TOKEN": token,
            "READ_SECRET": store.credential.secret_key,
            "WRITE_SECRET": store.writer.secret_key,
            **options.env,
        }
        serve = ["serve", "--config", str(directory / "broker.toml"), "--json"]
        url = str(_start(stack, "broker", serve, env, directory)["broker"])
        if options.has_consumer:
            _start(stack, "consumer", ["run"], {"BROKER_URL": url, "BROKER_CONSUMER_KEY": consumer_key}, directory)
        yield Loop(url=url, api_key=api_key, event_token=token, env=env)


def _start(stack: ExitStack, module: str, argv: list[str], env: dict[str, str], directory: Path) -> dict[str, Any]:
    child = Child(
        name=module,
        argv=[sys.executable, "-m", module, *argv],
        env={name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | env,
        directory=directory,
        is_announced="--json" in argv,
    )
    stack.callback(child.stop)
    return child.start()


def _configuration(store: S3Store, options: LoopOptions, redis_url: str, api_key: str, consumer_key: str) -> str:
    origins = msgspec.json.encode(options.page_origins).decode()
    multipart = ", ".join(f"{name} = {value}" for name, value in options.multipart.items())
    return f"""\
ledger = {{url = "{redis_url}"}}
server = {{port = 0}}
cors = {{allow_origins = {origins}}}
secrets = {{capsule_keys = [{{env = "CAPSULE_KEY"}}]}}

[destinations.default]
dialect = "ceph"
bucket = "{options.bucket}"
region = "{store.region}"
endpoint = "{store.url}"
accept_unsigned_headers = true
policy = {{first_look = "{options.first_look}"}}
multipart = {{{multipart}}}

[destinations.default.credentials]
default = {{access_key_id = "{store.credential.access_key}", secret_access_key = {{env = "READ_SECRET"}}}}
write = {{access_key_id = "{store.writer.access_key}", secret_access_key = {{env = "WRITE_SECRET"}}}}

[sources.ceph]
kind = "s3_event"
tokens = [{{env = "EVENT_TOKEN"}}]
destinations = ["default"]

[keys.app]
hash = "{hash_of(api_key)}"
roles = ["mint"]

[keys.worker]
hash = "{hash_of(consumer_key)}"
roles = ["consume"]

{options.more}
"""
