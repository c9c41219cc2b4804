"""A broker that serves a bucket of Cloud Storage, all real processes: identities, store, topic, private Redis, broker.

The broker's own account may nothing but impersonate the other three, and each of those has its one right. The bucket is
called at one address and signed for another, so that nothing works by accident of their being the same. The bucket
tells a topic, to which nobody has subscribed.
"""

import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.dev.children import Child
from broker.dev.redis_server import RedisServer, start_redis
from broker.domain.principals import hash_of, new_key_text
from emulators.gcs.process import GcsProcess, start_gcs
from emulators.google_iam.process import GoogleIamProcess, start_google_iam
from emulators.pubsub.process import PubsubProcess, start_pubsub

BUCKET: Final = "acme-scans"
BROKER, WRITER, READER, JANITOR = (
    f"{name}@acme.iam.gserviceaccount.com" for name in ("broker", "writer", "reader", "janitor")
)
PAGE: Final = "https://app.example"
TOPIC: Final = "projects/acme/topics/uploads"
PULLED: Final = "projects/acme/subscriptions/pulled"  # of the source `pull`; `push` listens to whoever calls as PUSHER
PUSHER, AUDIENCE = "pusher@acme.iam.gserviceaccount.com", "https://broker.example/notifications/push"
_RIGHTS: Final[Mapping[str, str]] = {
    WRITER: "storage.objects.create",
    READER: "storage.objects.get",
    JANITOR: "storage.objects.list,storage.objects.delete",
}
_CAPSULE_KEY, _ENCRYPTION_KEY = "capsule-" * 8, "encryption-" * 8


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsWorld:
    directory: Path
    iam: GoogleIamProcess
    gcs: GcsProcess
    pubsub: PubsubProcess
    redis: RedisServer
    broker: Child
    url: str
    api_key: str
    consumer_key: str
    public: str


@contextmanager
def gcs_world(directory: Path) -> Iterator[GcsWorld]:
    """`default` looks when it is told to, `steady` by itself as well; `brief` waits two seconds for its uploads, whose
    objects must be here by then.
    """
    with ExitStack() as stack:
        iam = stack.enter_context(start_google_iam(accounts=(BROKER,), impersonate={BROKER: (WRITER, READER, JANITOR)}))
        grants = [f"{BUCKET}:{account}={rights}" for account, rights in _RIGHTS.items()]
        pubsub = stack.enter_context(start_pubsub(iam=iam.endpoint, topics=(TOPIC,)))
        notify = {BUCKET: f"{pubsub.endpoint}/v1/{TOPIC}"}
        gcs = stack.enter_context(start_gcs(iam=iam.endpoint, buckets=(BUCKET,), grants=grants, notify=notify))
        (directory / "redis").mkdir()
        redis = start_redis(directory / "redis")
        stack.callback(redis.stop)
        api_key, consumer_key, port = new_key_text("app"), new_key_text("worker"), _free_port()
        public = gcs.endpoint.replace("127.0.0.1", "localhost")
        config = directory / "broker.toml"
        config.write_text(
            f"""\
ledger = {{url = "{redis.url}"}}
server = {{port = {port}, log_level = "debug"}}
cors = {{allow_origins = ["{PAGE}"]}}
secrets = {{capsule_keys = [{{env = "CAPSULE_KEY"}}], encryption_keys = [{{env = "ENCRYPTION_KEY"}}]}}
{_destination("default", 'first_look = "1h", longest_look_interval = "1h"', iam, gcs, public)}
{_destination("steady", 'first_look = "1s"', iam, gcs, public)}
{_destination("brief", 'deadline = "2s", grace = "100ms", first_look = "500ms"', iam, gcs, public)}
{_sources(iam, pubsub)}
[keys.app]
hash = "{hash_of(api_key)}"
roles = ["mint"]
[keys.worker]
hash = "{hash_of(consumer_key)}"
roles = ["consume"]
"""
        )
        broker = Child(
            name="broker",
            argv=[sys.executable, "-m", "broker", "serve", "--config", str(config), "--json"],
            env={"PATH": "", "CAPSULE_KEY": _CAPSULE_KEY, "ENCRYPTION_KEY": _ENCRYPTION_KEY},
            directory=directory,
        )
        stack.callback(broker.stop)
        broker.start()
        yield GcsWorld(
            directory=directory,
            iam=iam,
            gcs=gcs,
            pubsub=pubsub,
            redis=redis,
            broker=broker,
            url=f"http://127.0.0.1:{port}",
            api_key=api_key,
            consumer_key=consumer_key,
            public=public,
        )


def _destination(name: str, policy: str, iam: GoogleIamProcess, gcs: GcsProcess, public: str) -> str:
    return f"""
[destinations.{name}]
provider = "gcs"
bucket = "{BUCKET}"
prefix = "{name}"
endpoint = "{gcs.endpoint}"
public_endpoint = "{public}"
iam_endpoint = "{iam.endpoint}"
writer = "{WRITER}"
reader = "{READER}"
janitor = "{JANITOR}"
source = {{key_file = "{iam.key_files[BROKER]}"}}
resumable = {{threshold_bytes = 262_144}}
policy = {{{policy}}}
"""


def _sources(iam: GoogleIamProcess, pubsub: PubsubProcess) -> str:
    return f"""
[sources.push]
kind = "pubsub_push"
audience = "{AUDIENCE}"
service_accounts = ["{PUSHER}"]
certs_url = "{iam.endpoint}/oauth2/v1/certs"
destinations = ["default", "brief"]

[sources.pull]
kind = "pubsub"
subscription = "{PULLED}"
endpoint = "{pubsub.endpoint}"
source = {{key_file = "{iam.key_files[BROKER]}"}}
ack_deadline = "10s"
destinations = ["default", "brief"]
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
