"""`openapi` and `hash`: what others need to be given. Neither ledger nor store is asked."""

import sys
from pathlib import Path

import click

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


@click.command("hash")
def hash_key() -> None:
    """Read a key's text from stdin and print what `hash` in broker.toml takes.

    Example: printf %s "$KEY" | upload-broker hash
    """
    click.echo(hash_of(sys.stdin.read().strip()))
