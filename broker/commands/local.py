"""`dev` and `demo`: everything on this machine."""

import sys
from pathlib import Path
from typing import Literal

import click

from broker.commands.options import JSON

PROVIDER = click.option(
    "--provider", type=click.Choice(["s3", "gcs"]), default="s3", show_default=True, help="Whose store is stood in for."
)


@click.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), default=Path(".dev"), show_default=True)
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True)
@click.option("--store-port", type=click.IntRange(0, 65_535), default=9000, show_default=True)
@click.option("--no-consumer", is_flag=True, help="Do not start the built-in consumer.")
@PROVIDER
@JSON
def dev(
    data: Path, port: int, store_port: int, no_consumer: bool, provider: Literal["s3", "gcs"], as_json: bool
) -> None:
    """Everything on this machine, without any cloud: private Redis, strict emulators, broker, consumer.

    Example: upload-broker dev --port 0 --store-port 0 --json
    """
    from broker.dev.run import run_dev
    from broker.dev.stack import StackOptions

    options = StackOptions(
        directory=data, provider=provider, port=port, store_port=store_port, consumers=0 if no_consumer else 1
    )
    run_dev(options, as_json=as_json)


@click.command()
@click.option("--size", default="64MiB", show_default=True, help="Size of the sample file, such as 1GiB.")
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Upload this file instead.")
@PROVIDER
def demo(size: str, file: Path | None, provider: Literal["s3", "gcs"]) -> None:
    """Upload a real file through everything, and show what makes the loop trustworthy.

    Example: upload-broker demo --size 1GiB
    """
    from broker.dev.demo import run_demo

    sys.exit(run_demo(size=size, file=file, provider=provider))
