"""Who is told what becomes of sessions."""

from datetime import timedelta
from typing import Annotated

from msgspec import Meta, Struct

from broker.contract import WebhookType
from broker.domain.principals import ANY_DESTINATION
from broker.domain.webhooks import ALL_TYPES, ANY
from broker.settings.secrets import Secret

WebhookName = Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,64}$(?!\n)")]  # part of keys in the ledger


class WebhookSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is told what becomes of sessions. `keys` are ids of API keys, whose sessions it hears of."""

    url: str | Secret
    secrets: Annotated[tuple[Secret, ...], Meta(min_length=1)]
    events: Annotated[frozenset[WebhookType], Meta(min_length=1)] = frozenset(ALL_TYPES)
    destinations: tuple[str, ...] = (ANY_DESTINATION,)
    keys: tuple[str, ...] = (ANY,)
    allow_private: bool = False
    timeout: timedelta = timedelta(seconds=15)
    max_in_flight: Annotated[int, Meta(ge=1, le=1_000)] = 16

    def __repr__(self) -> str:
        """A URL may carry a secret."""
        return "WebhookSettings(url=***)"
