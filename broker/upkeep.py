"""Upkeep from a shell: sweeping destinations and recovering a ledger from them, and what people read of it."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from broker.domain.errors import BrokerError, ConfigurationInvalid, Unavailable
from broker.ports import Bucket
from broker.services.sweep_report import RecoverReport, SweepReport, Tally
from broker.settings import Settings
from broker.wiring import Upkeep, open_house
from broker.workers.sweeper import Sweeper

OK, UNANSWERED, REFUSED, STOPPED = 0, 1, 2, 3  # exit codes, as --help tells them

_SWEPT = {
    "live": "a session waits for them or has them",
    "late": "came late, and may be what was wanted",
    "kept": "have a tombstone, and stay by policy or for now",
    "removable": "have a tombstone that lets them go",
    "unknown": "the ledger does not know their sessions",
    "forgotten": "older than any record is kept",
    "foreign": "not under a key of the broker's making",
    "not_ours": "… that the broker never signed: untouched",
    "adopted": "… adopted",
    "accepted": "… late ones accepted",
    "removed": "… removed",
}
_RECOVERED = {
    "adopted": "adopted: their sessions are pending again and will be looked at",
    "known": "the ledger knows their sessions",
    "too_old": "minted before the moment after which sessions are adopted",
    "not_ours": "the broker never signed them",
    "foreign": "not under a key of the broker's making",
    "gone": "went meanwhile",
}


def sweep(
    settings: Settings,
    names: Sequence[str],
    *,
    is_deleting: bool,
    every: timedelta | None,
    at_most: float,
    as_json: bool,
    alive_file: Path | None = None,
) -> int:
    """One pass, or one `every` so often until a signal. The exit code."""
    show: Callable[[SweepReport], None] = _print_json if as_json else _print_sweep

    def tell(report: SweepReport) -> None:
        show(report)
        if alive_file and not (report.failed or report.stopped):
            with suppress(OSError):  # its age tells
                alive_file.touch()

    async def once(upkeep: Upkeep, bucket: Bucket) -> int:
        report = await upkeep.sweep(bucket, upkeep.broom if is_deleting else None, at_most=at_most)
        tell(report)
        return STOPPED if report.stopped else UNANSWERED if report.failed else OK

    async def repeat(upkeep: Upkeep, buckets: Sequence[Bucket], every: timedelta) -> int:
        broom = upkeep.broom if is_deleting else None
        sweeper = Sweeper(sweep=upkeep.sweep, broom=broom, buckets=buckets, every=every, tell=tell, at_most=at_most)
        await _until_signalled(sweeper.run())
        return OK

    async def run() -> int:
        if alive_file:
            _check_writable(alive_file)
        async with open_house(settings) as house:
            buckets = _chosen(house.upkeep, names)
            if every is not None:
                return await repeat(house.upkeep, buckets, every)
            return max([await _told(bucket, once(house.upkeep, bucket)) for bucket in buckets])

    return uvloop.run(run())


def recover(
    settings: Settings,
    names: Sequence[str],
    *,
    created_after: datetime | None,
    is_taking_over: bool,
    as_json: bool,
) -> int:
    """Adopts what the ledger lost. The exit code."""
    tell: Callable[[RecoverReport], None] = _print_json if as_json else _print_recovery

    async def one(upkeep: Upkeep, bucket: Bucket) -> int:
        report = await upkeep.recover(bucket, created_after=created_after)
        tell(report)
        return UNANSWERED if report.failed else OK

    async def run() -> int:
        async with open_house(settings) as house:
            buckets = _chosen(house.upkeep, names)
            if is_taking_over:
                await house.upkeep.take_over(buckets)
            return max([await _told(bucket, one(house.upkeep, bucket)) for bucket in buckets])

    return uvloop.run(run())


def _check_writable(alive_file: Path) -> None:
    """What an earlier process left there is no sign of this one's life.

    :raises ConfigurationInvalid:
    """
    try:
        alive_file.touch()
        alive_file.unlink()
    except OSError as exc:
        raise ConfigurationInvalid(f"the alive file {alive_file} cannot be written: {exc.strerror}") from exc


async def _until_signalled(work: Coroutine[Any, Any, None]) -> None:
    """Cut off in the middle of a pass, nothing is lost: the next one finds what is left."""
    task = asyncio.create_task(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


async def _told(bucket: Bucket, work: Coroutine[Any, Any, int]) -> int:
    """Trouble with one destination keeps no other from its turn."""
    try:
        return await work
    except BrokerError as trouble:
        sys.stderr.write(f"upload-broker: {bucket.destination.name}: {trouble.detail}\n")
        return UNANSWERED if isinstance(trouble, Unavailable) else REFUSED


def _chosen(upkeep: Upkeep, names: Sequence[str]) -> list[Bucket]:
    """:raises ConfigurationInvalid: no such destination, or none at all."""
    unknown = [name for name in names if name not in upkeep.buckets]
    if unknown:
        raise ConfigurationInvalid(f"there is no destination {unknown[0]!r}")
    if not upkeep.buckets:
        raise ConfigurationInvalid("no destination is configured")
    return [upkeep.buckets[name] for name in dict.fromkeys(names or upkeep.buckets)]


def _print_json(report: SweepReport | RecoverReport) -> None:
    _say(msgspec.json.encode(report).decode())


def _print_sweep(report: SweepReport) -> None:
    mode = "only looked: nothing was changed" if report.is_dry_run else "swept"
    _print_table(report, _SWEPT, f"{report.destination}: {report.bucket}/{report.prefix} – {mode}")
    uploads = report.uploads
    _say(
        f"unfinished multipart uploads: {uploads.live} live, {uploads.over} over"
        f"{'' if report.is_dry_run else f' ({uploads.aborted} aborted)'}, {uploads.unknown} unknown, "
        f"{uploads.foreign} foreign"
    )
    if uploads.oldest_unknown:
        _say(
            f"  the oldest unknown one was begun {uploads.oldest_unknown:%Y-%m-%d %H:%M} UTC; what it holds is in no "
            "listing: let a lifecycle rule of the bucket abort incomplete uploads after a week"
        )
    if report.is_partial:
        _say("more is removable than one pass takes: sweep again")
    _print_end(report)
    if report.stopped:
        _say(f"STOPPED: {report.stopped}")


def _print_recovery(report: RecoverReport) -> None:
    floor = f"{report.created_after:%Y-%m-%d %H:%M} UTC"
    title = f"{report.destination}: {report.bucket}/{report.prefix} – what was minted after {floor}"
    _print_table(report, _RECOVERED, title)
    _print_end(report)
    _say(f"{report.rate:,.0f} objects a second")


def _print_table(report: SweepReport | RecoverReport, rows: dict[str, str], title: str) -> None:
    table = Table("objects", "", "bytes", title=title, title_justify="left")
    table.columns[0].justify = table.columns[2].justify = "right"
    for name, meaning in rows.items():
        tally: Tally = getattr(report, name)
        table.add_row(f"{tally.objects:,}", meaning, f"{tally.size_bytes:,}")
    table.add_row(
        f"{report.listed.objects:,}", "listed under keys of the broker's making", f"{report.listed.size_bytes:,}"
    )
    Console(width=110).print(table)


def _say(line: str) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _print_end(report: SweepReport | RecoverReport) -> None:
    if report.failed:
        _say(f"{report.failed} could not be asked: the store or the ledger did not answer; run it again")
    _say(f"{report.seconds:,.1f} s")
