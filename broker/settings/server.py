"""The processes themselves: where they listen, what they remember in, and whose pages may read them."""

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct

from broker.domain.keys import SHARDS_LIMIT

# RFC 6454 section 6.2, an origin in ASCII: a port is left out where it is the scheme's own.
_ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:]+\])(:(?P<port>[0-9]{1,5}))?")
_UNSENT_PORTS = {"http": "80", "https": "443"}


class ServerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`health_port` is for processes without the API: where they say whether they live, if they shall say it."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    health_port: Annotated[int, Meta(ge=0, le=65_535)] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    max_listeners: Annotated[int, Meta(ge=0)] = 5_000  # to `GET …/events`, of one process


class CorsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose pages may read the answers: nobody's by default, everybody's only if somebody writes "*"."""

    allow_origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """An origin that no browser sends would never be let in: better refused than wondered at."""
        for origin in self.allow_origins:
            parts = _ORIGIN.fullmatch(origin)
            if origin != "*" and (parts is None or parts["port"] == _UNSENT_PORTS.get(parts["scheme"], "")):
                raise ValueError(
                    f'cors.allow_origins: {origin!r} is no origin as browsers send it, like "https://app.example" '
                    "(lower case, no path, no default port)"
                )


class LedgerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str = "redis://127.0.0.1:6379/0"
    shards: Annotated[int, Meta(ge=1, le=SHARDS_LIMIT)] = 1
    durability: Literal["everysec", "strict"] = "everysec"
    is_dev: bool = False

    def __repr__(self) -> str:
        """A URL may carry a password."""
        return f"LedgerSettings(url=***, shards={self.shards}, durability={self.durability!r}, is_dev={self.is_dev})"
