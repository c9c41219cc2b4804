"""`check`: whether a destination keeps what the broker promises with it, tried on the store itself."""

import sys
from pathlib import Path

import click

from broker.commands.options import CONFIG, DESTINATIONS, with_settings
from broker.settings import parse_duration


@click.command()
@CONFIG
@DESTINATIONS
@click.option("--events/--no-events", default=True, show_default=True, help="Wait for the bucket's own event.")
@click.option("--event-timeout", default="60s", show_default=True, help="How long to wait for it.")
@click.option(
    "--broker",
    "broker_url",
    envvar="BROKER_URL",
    help="Where `serve` answers, so that events can be heard [default: server.host and port].",
)
@click.option("--profile", help="AWS profile that may read the bucket's own settings [default: the credentials].")
@click.option(
    "--operator",
    "is_operator",
    is_flag=True,
    help="Read the settings of buckets in Google Cloud Storage with your application default credentials.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document at the end; logs to stderr.")
def check(
    config: Path | None,
    destinations: tuple[str, ...],
    events: bool,
    event_timeout: str,
    broker_url: str | None,
    profile: str | None,
    is_operator: bool,
    as_json: bool,
) -> None:
    """Try destinations (default: all) on the real store: upload, read, tamper, remove, and whatever else must hold.

    Everything that it makes lies under the destination's prefix and is removed again, also after Ctrl-C. It costs
    some hundred small requests a destination.

    \b
    Exit codes: 0 all passed; 1 something failed; 2 could not be tried (configuration).

    Example: upload-broker check default --profile admin
    """
    from broker import checking
    from broker.checks.event_step import LONGEST_WAIT
    from broker.wiring import CheckOptions, Listening

    timeout = parse_duration(event_timeout, "--event-timeout")
    if timeout > LONGEST_WAIT:
        raise click.UsageError("--event-timeout: at most 1h")
    options = CheckOptions(
        profile=profile,
        is_operator=is_operator,
        listening=Listening(timeout=timeout, broker_url=broker_url) if events else None,
    )
    sys.exit(checking.check(with_settings(config), destinations, options, as_json=as_json))
