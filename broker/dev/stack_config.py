"""What a stack is asked to be, and the `broker.toml` that says so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from broker.dev.cloud import Cloud
from broker.domain.principals import hash_of

REGION = "us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    directory: Path
    provider: Literal["s3", "gcs"] = "s3"
    port: int = 0
    store_port: int = 0
    shards: int = 1
    durability: Literal["everysec", "strict"] = "everysec"
    consumers: int = 1
    lookers: int = 0  # 0: the broker looks itself
    consumer_module: str | None = None
    more_destinations: tuple[str, ...] = ()  # beside `default`, each with a bucket of its own
    away: tuple[str, ...] = ()  # more of them, in a store of its own that can be killed apart
    required: int | Literal["all"] = "all"  # copies of a fan-out
    zones: tuple[tuple[str, ...], ...] = ()  # what the first consumers may read, each by a key of its own
    policy: Mapping[str, object] = field(default_factory=dict)
    policies: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # what one destination has otherwise
    multipart: Mapping[str, object] = field(default_factory=dict)
    resumable: Mapping[str, object] = field(default_factory=dict)
    keeping: str = ""  # how each destination wants its objects kept, as it stands in broker.toml
    page_origins: tuple[str, ...] = ()  # whose pages may read the broker's answers
    webhooks: Mapping[str, str] = field(default_factory=dict)  # names and URLs of receivers, private ones too
    webhook_timeout: str = "15s"
    lease: str = "60s"
    log_level: str = "info"
    faults: Mapping[str, object] = field(default_factory=dict)
    faults_away: Mapping[str, object] = field(default_factory=dict)

    @property
    def here(self) -> tuple[str, ...]:
        return ("default", *self.more_destinations)

    def policy_of(self, destination: str) -> Mapping[str, object]:
        return {**self.policy, **self.policies.get(destination, {})}

    def made(self, name: str) -> Path:
        """A directory below that of the stack."""
        path = self.directory / name
        path.mkdir(parents=True, exist_ok=True)
        return path


def write_config(options: StackOptions, known: Mapping[str, str], cloud: Cloud, redis_url: str, port: int) -> Path:
    origins = msgspec.json.encode(options.page_origins).decode()
    text = f"""\
[ledger]
url = "{redis_url}"
shards = {options.shards}
durability = "{options.durability}"

[server]
port = {port}
log_level = "{options.log_level}"

[cors]
allow_origins = {origins}

[jobs]
lease = "{options.lease}"

[fan_out]
required = {msgspec.json.encode(options.required).decode()}

[secrets]
capsule_keys = [{{env = "DEV_CAPSULE_KEY"}}]
{cloud.more_secrets}
{cloud.config}
{_webhooks(options)}
[keys.app]
hash = "{hash_of(known["api_key"])}"
roles = ["mint", "erase"]

[keys.worker]
hash = "{hash_of(known["consumer_key"])}"
roles = ["consume"]

{_zones(options, known)}
"""
    path = options.directory / "broker.toml"
    path.write_text(text)
    return path


def zone_key(number: int) -> str:
    return f"zone_{number}_key"


def _zones(options: StackOptions, known: Mapping[str, str]) -> str:
    tables = (
        f'[keys.zone-{number}]\nhash = "{hash_of(known[zone_key(number)])}"\nroles = ["consume"]\n'
        f"destinations = {msgspec.json.encode(zone).decode()}\n"
        for number, zone in enumerate(options.zones)
    )
    return "\n".join(tables)


def _webhooks(options: StackOptions) -> str:
    secrets = '[{env = "DEV_WEBHOOK_SECRET"}]'
    tables = (
        f'[webhooks.{name}]\nurl = "{url}"\nsecrets = {secrets}\ntimeout = "{options.webhook_timeout}"\n'
        "allow_private = true\n"
        for name, url in options.webhooks.items()
    )
    return "\n".join(tables)


def toml(table: Mapping[str, object]) -> str:
    """Numbers, texts and lists of these are written in TOML as in JSON."""
    return "\n".join(f"{name} = {msgspec.json.encode(value).decode()}" for name, value in table.items())
