"""`serve`, `look` and `poll`: the processes that do the work."""

from pathlib import Path

import click

from broker.commands.options import CONFIG, HEALTH_PORT, JSON, with_settings


@click.command()
@CONFIG
@JSON
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port to listen on; 0 picks a free one.")
@click.option("--no-look", is_flag=True, help="Serve the API only; `upload-broker look` runs elsewhere.")
@click.option("--no-relay", is_flag=True, help="Tell no webhooks; another process does.")
def serve(
    config: Path | None, host: str | None, port: int | None, no_look: bool, no_relay: bool, as_json: bool
) -> None:
    """Serve the API, look at what arrives, and tell webhooks.

    Example: upload-broker serve --config broker.toml --port 8080
    """
    from broker import serve as running

    settings = with_settings(config, host=host, port=port)
    running.serve(settings, is_looking=not no_look, is_relaying=not no_relay, is_announcing=as_json)


@click.command()
@CONFIG
@JSON
@click.option("--host", help="Address to listen on, with --health-port.")
@HEALTH_PORT
def look(config: Path | None, host: str | None, health_port: int | None, as_json: bool) -> None:
    """Look at what arrives and tell webhooks, without the API. Any number may run.

    Example: upload-broker look --config broker.toml --health-port 8081
    """
    from broker import serve as running

    running.look(with_settings(config, host=host, health_port=health_port), is_announcing=as_json)


@click.command()
@CONFIG
@JSON
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option("--host", help="Address to listen on, with --health-port.")
@HEALTH_PORT
def poll(
    config: Path | None, sources: tuple[str, ...], host: str | None, health_port: int | None, as_json: bool
) -> None:
    """Fetch what waits in queues (default: all sources that are one), and have it looked at. Any number may run.

    A message is deleted when the ledger has what it says, and not before.

    Example: upload-broker poll aws-events --config broker.toml --health-port 8082
    """
    from broker import serve as running

    running.poll(with_settings(config, host=host, health_port=health_port), sources, is_announcing=as_json)
