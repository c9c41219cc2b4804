"""What an operator may set: `broker.toml`, overridden by `BROKER_…` environment variables (`__` nests).

    BROKER_LEDGER__URL=redis://127.0.0.1:6379/0      ledger = {url = "redis://…"}

A secret is never a literal: `{env = "NAME"}` or `{file = "/run/secrets/name"}`. Durations are written "90s", "15m",
"24h", "30d". Unknown names are refused, with the place where they stand.

- `tree` – all of them together; a module for each branch: `destinations`, `credentials`, `sources`, `keys` …
- `loading` – from the file and the `environment` to the tree; `checks` – what one place makes of another.
"""

from broker.settings.credentials import CredentialSettings, RightSettings
from broker.settings.destinations import DestinationSettings, EncryptionSettings, GcsDestination, S3Destination
from broker.settings.durations import parse_duration, parse_moment
from broker.settings.google import GoogleSourceSettings, ServiceAccount, ServiceUrl
from broker.settings.keys import KeySettings
from broker.settings.loading import load
from broker.settings.secrets import Secret, SecretSettings
from broker.settings.server import CorsSettings, LedgerSettings, ServerSettings
from broker.settings.sources import (
    EventBridgeSource,
    PubsubPushSource,
    PubsubSource,
    QueueSource,
    S3EventSource,
    SnsSource,
    SourceSettings,
    SqsSource,
)
from broker.settings.tree import FanOutSettings, JobSettings, Settings
from broker.settings.webhooks import WebhookSettings

__all__ = [
    "CorsSettings",
    "CredentialSettings",
    "DestinationSettings",
    "EncryptionSettings",
    "EventBridgeSource",
    "FanOutSettings",
    "GcsDestination",
    "GoogleSourceSettings",
    "JobSettings",
    "KeySettings",
    "LedgerSettings",
    "PubsubPushSource",
    "PubsubSource",
    "QueueSource",
    "RightSettings",
    "S3Destination",
    "S3EventSource",
    "Secret",
    "SecretSettings",
    "ServerSettings",
    "ServiceAccount",
    "ServiceUrl",
    "Settings",
    "SnsSource",
    "SourceSettings",
    "SqsSource",
    "WebhookSettings",
    "load",
    "parse_duration",
    "parse_moment",
]
