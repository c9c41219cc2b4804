"""`sweep` and `recover`: destinations and ledger compared, and mended."""

import sys
from pathlib import Path

import click

from broker.commands.options import CONFIG, DESTINATIONS, REPORT, with_settings
from broker.settings import parse_duration, parse_moment


@click.command()
@CONFIG
@DESTINATIONS
@click.option("--delete", "is_deleting", is_flag=True, help="Do it; without, nothing is changed anywhere.")
@click.option("--every", help='Sweep again and again, so often: "30m", "1h", "1d".')
@click.option(
    "--max-percent",
    type=click.FloatRange(0, 100),
    default=5.0,
    show_default=True,
    help="More than this of all objects, or of their bytes, is never removed in a pass.",
)
@click.option(
    "--alive-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Touched after each pass that left nothing undone, so that a health check can look at its age.",
)
@REPORT
def sweep(
    config: Path | None,
    destinations: tuple[str, ...],
    is_deleting: bool,
    every: str | None,
    max_percent: float,
    alive_file: Path | None,
    as_json: bool,
) -> None:
    """Compare destinations (default: all) with the ledger, and report in objects and bytes.

    With --delete: adopts uploads that the ledger lost, takes late ones whose event was lost, removes objects of
    sessions that were rejected, aborted or given up, and aborts their unfinished multipart uploads. An object that is
    merely unknown is never removed. Any number may run at once.

    \b
    Exit codes: 0 all was asked; 1 the store or the ledger did not answer for some, sweep again;
    2 refused, for instance because this is not the ledger that knows the store; 3 stopped by --max-percent.

    Example: upload-broker sweep default --delete --every 1h
    """
    from broker import upkeep

    sys.exit(
        upkeep.sweep(
            with_settings(config),
            destinations,
            is_deleting=is_deleting,
            every=None if every is None else parse_duration(every, "--every"),
            at_most=max_percent / 100,
            as_json=as_json,
            alive_file=alive_file,
        )
    )


@click.command()
@CONFIG
@DESTINATIONS
@click.option(
    "--created-after",
    metavar="MOMENT",
    help='Do not process again what was minted up to then, such as "2026-11-20T12:00Z" [default: adopt all that may '
    "still have had a record].",
)
@click.option("--take-over", "is_taking_over", is_flag=True, help="This empty Redis becomes the ledger of the store.")
@REPORT
def recover(
    config: Path | None, destinations: tuple[str, ...], created_after: str | None, is_taking_over: bool, as_json: bool
) -> None:
    """After Redis was lost or restored: bring back every session that its object still tells of.

    Lists destinations (default: all) and adopts what the ledger does not know; `serve` or `look` then verifies it, and
    its job is done, perhaps again. Deletes nothing, and may be run as often as you like.

    \b
    Exit codes: 0 all was asked; 1 the store or the ledger did not answer for some, run it again;
    2 refused, for instance because this is not the ledger that knows the store.

    Example: upload-broker recover --take-over --created-after 2026-11-20T12:00Z
    """
    from broker import upkeep

    sys.exit(
        upkeep.recover(
            with_settings(config),
            destinations,
            created_after=None if created_after is None else parse_moment(created_after, "--created-after"),
            is_taking_over=is_taking_over,
            as_json=as_json,
        )
    )
