"""`jobs`: those that failed."""

import sys
from pathlib import Path

import click

from broker.commands.options import CONFIG, with_settings


@click.group()
def jobs() -> None:
    """Failed jobs: list them, give them another chance."""


@jobs.command("dead")
@CONFIG
@click.option("--destination", help="Only of this destination [default: all].")
@click.option("--limit", type=click.IntRange(1), help="Stop after so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def jobs_dead(config: Path | None, destination: str | None, limit: int | None, as_json: bool) -> None:
    """List failed jobs, the latest first: id, when, why, how often tried, destination, file name.

    Goes through all sessions, a thousand at a time, so that nobody waits for it.

    Example: upload-broker jobs dead --destination default
    """
    from broker import operate_jobs

    for job in operate_jobs.dead_jobs(with_settings(config), destination, limit):
        click.echo(operate_jobs.as_json(job) if as_json else job.line())


@jobs.command("retry")
@CONFIG
@click.argument("ids", nargs=-1, metavar="[ID]…")
@click.option("--all", "is_all", is_flag=True, help="Every failed job.")
@click.option("--destination", help="With --all: only of this destination.")
@click.option("--reason", help="With --all: only those that failed with this code.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; do nothing.")
def jobs_retry(
    config: Path | None, ids: tuple[str, ...], is_all: bool, destination: str | None, reason: str | None, dry_run: bool
) -> None:
    """Make failed jobs visible to consumers again, their failures forgotten.

    Refused where the object was erased, is gone or is not the one that was verified. Exit code 1 if one of the named
    was refused.

    Example: upload-broker jobs retry --all --reason parse-error --dry-run
    """
    from broker import operate_jobs

    if is_all == bool(ids):
        raise click.UsageError("name the jobs, or say --all")
    if not is_all and (destination or reason):
        raise click.UsageError("--destination and --reason choose among --all")
    settings = with_settings(config)
    if is_all:
        done = operate_jobs.retry_all(settings, destination, reason, is_dry=dry_run)
    else:
        done = operate_jobs.retry_jobs(settings, ids, is_dry=dry_run)
    for job in done:
        happened = "would be retried" if dry_run else "retried"
        click.echo(f"{job.id}  {happened if job.refusal is None else f'not retried: {job.refusal}'}")
    if ids and any(job.refusal for job in done):
        sys.exit(1)
