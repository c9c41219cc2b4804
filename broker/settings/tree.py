"""All settings, as `broker.toml` nests them."""

from datetime import timedelta
from typing import Annotated, Literal

from msgspec import Meta, Struct

from broker.contract import MAX_COPIES
from broker.settings.destinations import DestinationSettings
from broker.settings.keys import KeySettings
from broker.settings.secrets import SecretSettings
from broker.settings.server import CorsSettings, LedgerSettings, ServerSettings
from broker.settings.sources import SourceSettings
from broker.settings.webhooks import WebhookName, WebhookSettings


class JobSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    lease: timedelta = timedelta(seconds=60)
    read_ttl: timedelta = timedelta(minutes=5)


class FanOutSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many copies must be verified before there is a job; of fewer than that number, all."""

    required: Literal["all"] | Annotated[int, Meta(ge=1, le=MAX_COPIES)] = "all"


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    ledger: LedgerSettings = LedgerSettings()
    secrets: SecretSettings = SecretSettings()
    server: ServerSettings = ServerSettings()
    cors: CorsSettings = CorsSettings()
    jobs: JobSettings = JobSettings()
    fan_out: FanOutSettings = FanOutSettings()
    destinations: dict[str, DestinationSettings] = {}
    sources: dict[str, SourceSettings] = {}
    keys: dict[str, KeySettings] = {}
    webhooks: dict[WebhookName, WebhookSettings] = {}
