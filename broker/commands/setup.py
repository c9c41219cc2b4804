"""`setup`: what an operator makes at the store, printed."""

from pathlib import Path
from typing import Literal

import click

from broker.commands.options import CONFIG, with_settings

SET = click.option(
    "--set",
    "given",
    multiple=True,
    metavar="WORD=TEXT",
    help="Fill in what the configuration does not say, such as BROKER_URL=https://broker.example. May be repeated.",
)


@click.group()
def setup() -> None:
    """What a destination's store must be told: printed, and where that takes nothing away, done."""


@setup.command("s3")
@CONFIG
@click.argument("destination", required=False)
@click.option("--print", "is_printing", is_flag=True, required=True, help="Print it; nothing is changed anywhere.")
@click.option("--format", "form", type=click.Choice(["json", "terraform"]), default="json", show_default=True)
@SET
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

    click.echo(operate_setup.print_setup(with_settings(config), destination, form=form, given=_words(given)))


@setup.command("gcs")
@CONFIG
@click.argument("destination", required=False)
@click.option("--print/--apply", "is_printing", default=None, required=True, help="Print it all, or do what is safe.")
@click.option("--format", "form", type=click.Choice(["json", "terraform", "gcloud"]), default="json", show_default=True)
@SET
def setup_gcs(
    config: Path | None,
    destination: str | None,
    is_printing: bool,
    form: Literal["json", "terraform", "gcloud"],
    given: tuple[str, ...],
) -> None:
    """Print what a destination in Google Cloud Storage needs (default: all): roles of the three service accounts, who
    may impersonate them, the bucket's settings, its notification, topic and subscriptions.

    --apply makes CORS rules, lifecycle rule and notification at the bucket, with your own application default
    credentials; what is there stays, and a second time nothing changes.

    \b
    Examples:
      upload-broker setup gcs --print scans --format gcloud > scans.sh
      upload-broker setup gcs --apply scans
    """
    from broker import operate_setup_gcs

    settings = with_settings(config)
    if is_printing:
        click.echo(operate_setup_gcs.print_setup(settings, destination, form=form, given=_words(given)))
        return
    for line in operate_setup_gcs.apply_setup(settings, destination, given=_words(given)):
        click.echo(line)


def _words(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    if any(not separator for _, separator, _ in pairs):
        raise click.UsageError("--set takes WORD=TEXT")
    return {word: text for word, _, text in pairs}
