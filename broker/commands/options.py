"""What several commands take, and the settings that come of it."""

import os
from pathlib import Path

import click
import msgspec

from broker import logs
from broker.settings import Settings, load

CONFIG = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="BROKER_CONFIG",
    help="Configuration file [default: broker.toml, if there is one].",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON line on stdout when ready; logs to stderr.")
DESTINATIONS = click.argument("destinations", nargs=-1, metavar="[DESTINATION]...")
REPORT = click.option("--json", "as_json", is_flag=True, help="Print each report as one JSON line; logs to stderr.")
HEALTH_PORT = click.option(
    "--health-port",
    type=click.IntRange(0, 65_535),
    help="Answer /healthz, /readyz and /metrics here [default: nowhere].",
)


def with_settings(path: Path | None, **server: object) -> Settings:
    """Flags over environment over file."""
    settings = load(path, os.environ)
    given = {name: value for name, value in server.items() if value is not None}
    settings = msgspec.structs.replace(settings, server=msgspec.structs.replace(settings.server, **given))
    logs.configure(settings.server.log_level)
    return settings
