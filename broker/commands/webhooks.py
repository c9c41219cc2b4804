"""`webhooks`: what they were told, and telling it again."""

from datetime import UTC, datetime
from pathlib import Path

import click

from broker.commands.options import CONFIG, with_settings


@click.group()
def webhooks() -> None:
    """Who is told what becomes of sessions."""


@webhooks.command("list")
@CONFIG
def webhooks_list(config: Path | None) -> None:
    """List webhooks, and of how many sessions each must still be told.

    Example: upload-broker webhooks list
    """
    from broker import operate_webhooks

    for line in operate_webhooks.list_webhooks(with_settings(config)):
        click.echo(line)


@webhooks.command("log")
@CONFIG
@click.argument("name")
@click.option("--session", "session_id", help="Only attempts about this session.")
@click.option("--failed", "is_failed", is_flag=True, help="Only attempts that delivered nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
def webhooks_log(config: Path | None, name: str, session_id: str | None, is_failed: bool, as_json: bool) -> None:
    """Print the last ten thousand attempts to tell a webhook, oldest first.

    Example: upload-broker webhooks log crm --failed
    """
    from broker import operate_webhooks

    settings = with_settings(config)
    for line in operate_webhooks.log(settings, name, session_id=session_id, is_failed=is_failed, as_json=as_json):
        click.echo(line)


@webhooks.command("replay")
@CONFIG
@click.argument("name")
@click.option("--session", "session_id", help="All events of this session.")
@click.option("--since", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d"]), help="All since, a week at most.")
@click.option("--failed", "is_failed", is_flag=True, help="What was given up.")
def webhooks_replay(
    config: Path | None, name: str, session_id: str | None, since: datetime | None, is_failed: bool
) -> None:
    """Have a webhook told again; events keep the id that they had.

    Example: upload-broker webhooks replay crm --since 2026-11-20T12:00:00Z
    """
    from broker import operate_webhooks

    moment = since.replace(tzinfo=since.tzinfo or UTC) if since else None
    told = operate_webhooks.replay(
        with_settings(config), name, session_id=session_id, since=moment, is_failed=is_failed
    )
    click.echo(f"{told.events} events will be told, {told.waiting} of them were waiting")


@webhooks.command("test")
@CONFIG
@click.argument("name")
def webhooks_test(config: Path | None, name: str) -> None:
    """Send a signed `webhook.test` from here, and say what came of it.

    Example: upload-broker webhooks test crm
    """
    from broker import operate_webhooks

    click.echo(operate_webhooks.test(with_settings(config), name))


@webhooks.command("forget")
@CONFIG
@click.argument("name")
def webhooks_forget(config: Path | None, name: str) -> None:
    """Drop what the ledger keeps for a webhook that was removed from the configuration.

    Example: upload-broker webhooks forget crm
    """
    from broker import operate_webhooks

    operate_webhooks.forget(with_settings(config), name)
