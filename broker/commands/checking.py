"""`check`: whether a destination keeps what the broker promises with it, tried on the store itself."""

import sys
from pathlib import Path

import click

from broker.commands.options import CONFIG, DESTINATIONS, with_settings


@click.command()
@CONFIG
@DESTINATIONS
@click.option("--profile", help="AWS profile that may read the bucket's own settings [default: the credentials].")
@click.option("--print-policies", is_flag=True, help="Try nothing: print what each credential must be allowed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document at the end; logs to stderr.")
def check(
    config: Path | None, destinations: tuple[str, ...], profile: str | None, print_policies: bool, as_json: bool
) -> None:
    """Try destinations (default: all) on the real store: upload, read, tamper, remove, and whatever else must hold.

    Everything that it makes lies under the destination's prefix and is removed again, also after Ctrl-C. Only
    destinations that are meant for it: a check costs some fifty small requests.

    \b
    Exit codes: 0 all passed; 1 something failed; 2 could not be tried (configuration).

    Example: upload-broker check default --profile admin
    """
    if print_policies:
        from broker import operate

        if len(destinations) > 1:
            raise click.UsageError("--print-policies takes one destination, or none for all")
        click.echo(operate.policies(with_settings(config), destinations[0] if destinations else None))
        return
    from broker import checking

    sys.exit(checking.check(with_settings(config), destinations, profile=profile, as_json=as_json))
