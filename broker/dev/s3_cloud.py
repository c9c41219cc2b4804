"""The dev stack on S3: the strict emulator, and a second one for what is away."""

from collections.abc import Mapping, Sequence

import msgspec

from broker.dev.children import Started, free_port, python_child
from broker.dev.cloud import Cloud, bucket_of
from broker.dev.stack_config import REGION, StackOptions, toml

DOOR = "notifications/dev"


def start_s3_cloud(options: StackOptions, known: Mapping[str, str], broker_url: str, started: Started) -> Cloud:
    """:raises ConfigurationInvalid: a part did not start."""
    tells = f"{broker_url}/{DOOR}?token={known['event_token']}"
    argv = _argv("objects", options, known, options.here, tells, options.store_port, options.faults)
    store = python_child("store", options.directory, argv, {})
    endpoints = dict.fromkeys(options.here, str(started.start(store)["endpoint"]))
    away = None
    if options.away:  # always at the same port: it comes back where it was
        argv = _argv("away", options, known, options.away, tells, free_port(), options.faults_away)
        away = python_child("away", options.directory, argv, {})
        endpoints |= dict.fromkeys(options.away, str(started.start(away)["endpoint"]))
    return Cloud(
        store=store,
        away=away,
        endpoints=endpoints,
        config=_config(options, known, endpoints),
        secrets={"DEV_EVENT_TOKEN": known["event_token"], "DEV_SECRET_KEY": known["secret_key"]},
        announced={"access_key": known["access_key"], "secret_key": known["secret_key"]},
    )


def _argv(
    data: str,
    options: StackOptions,
    known: Mapping[str, str],
    destinations: Sequence[str],
    tells: str,
    port: int,
    faults: Mapping[str, object],
) -> list[str]:
    account = f"dev:{known['access_key']}:{known['secret_key']}"
    argv = ["emulators", "s3", "--listen", f"127.0.0.1:{port}", "--data", str(options.made(data)), "--json"]
    argv += ["--account", account, "--region", REGION, "--cors-origin", "*"]
    for name in destinations:
        argv += ["--bucket", bucket_of(name), "--notify", f"{bucket_of(name)}={tells}"]
    return argv + (["--faults", msgspec.json.encode(faults).decode()] if faults else [])


def _config(options: StackOptions, known: Mapping[str, str], endpoints: Mapping[str, str]) -> str:
    tables = [_destination(name, options, known, endpoint) for name, endpoint in endpoints.items()]
    source = f"""\
[sources.dev]
kind = "s3_event"
tokens = [{{env = "DEV_EVENT_TOKEN"}}]
destinations = {msgspec.json.encode(list(endpoints)).decode()}
"""
    return "\n".join([*tables, source])


def _destination(name: str, options: StackOptions, known: Mapping[str, str], endpoint: str) -> str:
    return f"""\
[destinations.{name}]
provider = "s3"
dialect = "aws"
bucket = "{bucket_of(name)}"
region = "{REGION}"
endpoint = "{endpoint}"
addressing = "path"
{options.keeping}

[destinations.{name}.policy]
{toml(options.policy_of(name))}

[destinations.{name}.multipart]
{toml(options.multipart)}

[destinations.{name}.credentials.default]
access_key_id = "{known["access_key"]}"
secret_access_key = {{env = "DEV_SECRET_KEY"}}
"""
