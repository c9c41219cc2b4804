"""The command line: `python -m emulators s3 …`, `gcs …`."""

import sys

import click

from emulators.gcs import command as gcs
from emulators.google_iam import command as google_iam
from emulators.pubsub import command as pubsub
from emulators.s3 import command as s3


@click.group()
def main() -> None:
    """Strict stand-ins for real stores: for development and tests, never for production.

    \b
    Example:
      python -m emulators s3 --listen 127.0.0.1:9000 --data /tmp/s3 --bucket uploads
    """


for _each in (s3, gcs, google_iam, pubsub):
    main.add_command(_each.command)


if __name__ == "__main__":
    try:
        main(prog_name="python -m emulators")
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] == "emulators":
            raise
        sys.exit(f"Error: {exc.name} is not installed; stand-ins for Google need upload-broker[server]")
