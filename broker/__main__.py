"""The command `upload-broker`."""

import sys

import click

from broker import __version__
from broker.commands.checking import check
from broker.commands.documents import hash_key, openapi
from broker.commands.jobs import jobs
from broker.commands.keys import keys
from broker.commands.local import demo, dev
from broker.commands.running import look, poll, serve
from broker.commands.setup import setup
from broker.commands.upkeep import recover, sweep
from broker.commands.webhooks import webhooks
from broker.domain.errors import BrokerError


def main() -> None:
    """One sentence instead of a traceback for what an operator can mend; exit code 2."""
    try:
        _cli(standalone_mode=True)
    except BrokerError as exc:
        click.echo(f"upload-broker: {exc.detail}", err=True)
        sys.exit(2)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] == __package__:
            raise
        click.echo(f"upload-broker: {exc.name} is not installed; the server needs upload-broker[server]", err=True)
        sys.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="upload-broker")
def _cli() -> None:
    """Presigned-URL direct-to-bucket upload broker.

    Example: upload-broker serve --config broker.toml
    """


for _command in (serve, look, poll, sweep, recover, dev, demo, openapi, check, setup, hash_key, keys, jobs, webhooks):
    _cli.add_command(_command)


if __name__ == "__main__":
    main()
