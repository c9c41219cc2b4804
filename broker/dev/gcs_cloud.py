"""The dev stack on Google Cloud Storage: emulated identities, Pub/Sub and buckets, each a process of its own.

The broker's own service account may do nothing but impersonate the three of the destinations; each of those has its
own right and no other. What happens in a bucket is published to one topic, and pushed to the broker with an ID token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from broker.dev.children import Child, Started, free_port, python_child
from broker.dev.cloud import Cloud, bucket_of
from broker.dev.stack_config import StackOptions, toml

PROJECT: Final = "emulated"
DOMAIN: Final = f"@{PROJECT}.iam.gserviceaccount.com"
SOURCE, WRITER, READER, JANITOR = (f"{name}{DOMAIN}" for name in ("broker", "writer", "reader", "janitor"))
OWNER: Final = f"owner{DOMAIN}"  # nobody's but of whoever looks at the buckets from outside
PUSHER: Final = f"pusher{DOMAIN}"
TOPIC: Final = f"projects/{PROJECT}/topics/uploads"
SUBSCRIPTION: Final = f"projects/{PROJECT}/subscriptions/broker"
AUDIENCE: Final = "upload-broker-dev"
RIGHTS: Final[Mapping[str, Sequence[str]]] = {
    WRITER: ("storage.objects.create",),
    READER: ("storage.objects.get",),
    JANITOR: ("storage.objects.list", "storage.objects.delete"),
    OWNER: tuple(f"storage.objects.{each}" for each in ("create", "get", "list", "delete", "update")),
}


def start_gcs_cloud(options: StackOptions, known: Mapping[str, str], broker_url: str, started: Started) -> Cloud:
    """:raises ConfigurationInvalid: a part did not start."""
    iam = python_child("iam", options.directory, _iam_argv(options), {})
    ready = started.start(iam)
    identities = str(ready["endpoint"])
    pubsub = python_child("pubsub", options.directory, _pubsub_argv(identities, broker_url), {})
    topics = str(started.start(pubsub)["endpoint"])
    stores = _Stores(options=options, identities=identities, topics=topics)
    store = stores.child("store", "objects", options.here, options.store_port or free_port(), options.faults)
    endpoints = dict.fromkeys(options.here, str(started.start(store)["endpoint"]))
    away = None
    if options.away:
        away = stores.child("away", "away", options.away, free_port(), options.faults_away)
        endpoints |= dict.fromkeys(options.away, str(started.start(away)["endpoint"]))
    return Cloud(
        store=store,
        away=away,
        others=(pubsub, iam),
        endpoints=endpoints,
        config=_config(options, endpoints, identities, ready["key_files"][SOURCE]),
        secrets={"DEV_ENCRYPTION_KEY": known["encryption_key"]},
        more_secrets='encryption_keys = [{env = "DEV_ENCRYPTION_KEY"}]\n',
        announced={"owner_key_file": ready["key_files"][OWNER], "iam": identities, "pubsub": topics},
    )


def _iam_argv(options: StackOptions) -> list[str]:
    """Always at the same port, as the others: whoever is killed comes back where he was."""
    argv = ["emulators", "google-iam", "--listen", f"127.0.0.1:{free_port()}", "--data", str(options.made("iam"))]
    argv += ["--json", "--account", SOURCE, "--account", OWNER]
    for target in (WRITER, READER, JANITOR):
        argv += ["--impersonate", f"{SOURCE}={target}"]
    return argv


def _pubsub_argv(identities: str, broker_url: str) -> list[str]:
    push = f"{TOPIC},push={broker_url}/notifications/dev,audience={AUDIENCE},email={PUSHER}"
    argv = ["emulators", "pubsub", "--listen", f"127.0.0.1:{free_port()}", "--iam", identities, "--json"]
    return [*argv, "--topic", TOPIC, "--subscription", f"{SUBSCRIPTION}={push}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stores:
    """What every emulated Cloud Storage of a stack knows."""

    options: StackOptions
    identities: str
    topics: str

    def child(
        self, name: str, data: str, destinations: Sequence[str], port: int, faults: Mapping[str, object]
    ) -> Child:
        argv = ["emulators", "gcs", "--listen", f"127.0.0.1:{port}", "--data", str(self.options.made(data)), "--json"]
        argv += ["--iam", self.identities]
        for origin in self.options.page_origins:
            argv += ["--origin", origin]
        for bucket in map(bucket_of, destinations):
            argv += ["--bucket", bucket, "--notify", f"{bucket}={self.topics}/v1/{TOPIC}"]
            for email, permissions in RIGHTS.items():
                argv += ["--grant", f"{bucket}:{email}={','.join(permissions)}"]
        argv += ["--faults", msgspec.json.encode(faults).decode()] if faults else []
        return python_child(name, self.options.directory, argv, {})


def _config(options: StackOptions, endpoints: Mapping[str, str], identities: str, key_file: str) -> str:
    tables = [
        f"""\
[destinations.{name}]
provider = "gcs"
bucket = "{bucket_of(name)}"
endpoint = "{endpoint}"
iam_endpoint = "{identities}"
writer = "{WRITER}"
reader = "{READER}"
janitor = "{JANITOR}"
source = {{key_file = {msgspec.json.encode(key_file).decode()}}}

[destinations.{name}.policy]
{toml(options.policy_of(name))}

[destinations.{name}.resumable]
{toml(options.resumable)}
"""
        for name, endpoint in endpoints.items()
    ]
    source = f"""\
[sources.dev]
kind = "pubsub_push"
audience = "{AUDIENCE}"
service_accounts = ["{PUSHER}"]
subscriptions = ["{SUBSCRIPTION}"]
certs_url = "{identities}/oauth2/v1/certs"
destinations = {msgspec.json.encode(list(endpoints)).decode()}
"""
    return "\n".join([*tables, source])
