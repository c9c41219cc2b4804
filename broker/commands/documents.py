"""`openapi`, `check` and `hash`: what others need to be given. Neither ledger nor store is asked."""

import sys
from pathlib import Path

import click

from broker.commands.options import CONFIG, with_settings
from broker.domain.principals import hash_of


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when the file is stale.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), default=Path("openapi/openapi.json"))
def openapi(check: bool, output: Path) -> None:
    """Write the OpenAPI document.

    Example: upload-broker openapi --check
    """
    from broker.api.openapi import openapi_document

    document = openapi_document()
    if check:
        if not output.exists() or output.read_bytes() != document:
            raise click.ClickException(f"{output} is stale: run `upload-broker openapi`")
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(document)


@click.command()
@CONFIG
@click.argument("destination", required=False)
@click.option("--print-policies", is_flag=True, required=True, help="Print what each credential must be allowed.")
def check(config: Path | None, destination: str | None, print_policies: bool) -> None:  # noqa: ARG001
    """Print the minimal policy of each credential of a destination, and the CORS rules of its bucket, as JSON.

    Example: upload-broker check default --print-policies
    """
    from broker import operate

    click.echo(operate.policies(with_settings(config), destination))


@click.command("hash")
def hash_key() -> None:
    """Read a key's text from stdin and print what `hash` in broker.toml takes.

    Example: printf %s "$KEY" | upload-broker hash
    """
    click.echo(hash_of(sys.stdin.read().strip()))
