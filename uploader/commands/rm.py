"""`uploader rm`."""

import sys
from pathlib import Path

import click

from uploader.commands.options import broker_options, checked_ids, uploader_of
from uploader.commands.removing import Plan, Removal
from uploader.commands.running import run
from uploader.progress import choose_view
from uploader.sdk import GET_JOBS, MAX_THREADS

EXIT_CODES = """\b
Exit codes:
  0    nothing of them is left, or the broker removes it now
  1    some could not be removed, for several reasons; or you said no
  2    wrong usage
  3    the broker refuses: no such session, or the key has no role erase
  4    the broker is unreachable; the same command goes on
  130  interrupted; the same command goes on
"""
GOING_ON = "what is removed stays so, and the same command goes on"


@click.command(epilog=EXIT_CODES)
@click.argument("session_ids", nargs=-1, callback=checked_ids, metavar="[SESSION_ID]...")
@broker_options
@click.option("--batch", help="All that was minted with this label, up to now.")
@click.option("--owner", help="With --batch: only what was minted with this label.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option(
    "--jobs", type=click.IntRange(1, MAX_THREADS), default=GET_JOBS, show_default=True, help="Sessions at a time."
)
@click.option("--json", "is_json", is_flag=True, help="One JSON object a session and line.")
def rm(
    session_ids: tuple[str, ...],
    broker: str,
    key_file: Path | None,
    batch: str | None,
    owner: str | None,
    yes: bool,
    dry_run: bool,
    jobs: int,
    is_json: bool,
) -> None:
    """Abort sessions that are pending, and erase the objects of those that are settled.

    For the latter the key needs the role erase. What is erased does not come back.

    \b
    Example:
      uploader rm --batch 2026-11-20 --dry-run
      uploader rm SESSION_ID --yes
    """
    if bool(session_ids) == (batch is not None):
        raise click.UsageError("name sessions, or --batch")
    if owner is not None and batch is None:
        raise click.UsageError("--owner goes with --batch")
    removal = Removal(batch=batch, owner=owner, is_json=is_json)

    async def planned() -> Plan:
        async with uploader_of(broker, key_file) as uploader:
            await removal.find(uploader, session_ids)
            return await removal.plan(uploader, shows=dry_run)

    async def removed(plan: Plan) -> None:
        async with uploader_of(broker, key_file) as uploader:
            await removal.work(uploader, plan.newest, jobs)

    view = choose_view(is_json=is_json)
    plan = run(planned(), view, "rm")
    if not dry_run and plan.is_something:
        if not yes:
            click.confirm(f"{plan}. Go on?", abort=True, err=True)
        run(removed(plan), view, "rm", going_on=GOING_ON)
    if not is_json:
        click.echo(f"{plan}" if dry_run else removal.summary, err=True)
    sys.exit(removal.exit_code)
