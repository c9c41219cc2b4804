"""The command line: `python -m emulators s3 …`."""

import click

from emulators.s3 import command as s3


@click.group()
def main() -> None:
    """Strict stand-ins for real stores: for development and tests, never for production.

    \b
    Example:
      python -m emulators s3 --listen 127.0.0.1:9000 --data /tmp/s3 --bucket uploads
    """


for _each in (s3,):
    main.add_command(_each.command)


if __name__ == "__main__":
    main(prog_name="python -m emulators")
