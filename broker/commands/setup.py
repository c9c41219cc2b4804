"""`setup`: what an operator makes at the store, printed."""

from pathlib import Path
from typing import Literal

import click

from broker.commands.options import CONFIG, with_settings


@click.group()
def setup() -> None:
    """What a destination's store must be told, printed and not done."""


@setup.command("s3")
@CONFIG
@click.argument("destination", required=False)
@click.option("--print", "is_printing", is_flag=True, required=True, help="Print it; nothing is changed anywhere.")
@click.option("--format", "form", type=click.Choice(["json", "terraform"]), default="json", show_default=True)
@click.option(
    "--set",
    "given",
    multiple=True,
    metavar="WORD=TEXT",
    help="Fill in what the configuration does not say, such as BROKER_URL=https://broker.example. May be repeated.",
)
def setup_s3(
    config: Path | None,
    destination: str | None,
    is_printing: bool,  # noqa: ARG001
    form: Literal["json", "terraform"],
    given: tuple[str, ...],
) -> None:
    """Print what a destination needs (default: all): a policy for each credential, trust of roles, policy, CORS,
    lifecycle and safeguards of the bucket, and the notification with its queue, topic or bus.

    What the configuration does not say stands as a word in capitals, in Terraform as a variable.

    Example: upload-broker setup s3 --print default --format terraform > uploads.tf
    """
    from broker import operate_setup

    pairs = [text.partition("=") for text in given]
    if any(not separator for _, separator, _ in pairs):
        raise click.UsageError("--set takes WORD=TEXT")
    filled = {word: text for word, _, text in pairs}
    click.echo(operate_setup.print_setup(with_settings(config), destination, form=form, given=filled))
