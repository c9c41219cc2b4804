"""The `uploader` command."""

import click

from uploader.commands.options import EXIT_CODES
from uploader.commands.put import put
from uploader.commands.sample import sample
from uploader.commands.sessions import get, status


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Upload files straight into a bucket, through an upload broker.

    All it knows is the broker's URL (BROKER_URL) and a key (BROKER_API_KEY, or --key-file).

    \b
    Example:
      export BROKER_URL=http://127.0.0.1:8000 BROKER_API_KEY=ub_…
      uploader put report.csv --wait processed
    """


main.add_command(put)
main.add_command(get)
main.add_command(status)
main.add_command(sample)

if __name__ == "__main__":
    main()
