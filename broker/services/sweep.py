"""Sweep: one pass over a destination. Lists, compares with the ledger, and – given a broom – puts right what it may.

What may be deleted is decided by tombstones, never by absence (`findings.py`), and by far the most of any prefix should
be neither. So everything is listed first, in bounded memory; when more than a few percent of it would go, something
else is wrong, and nothing goes. Shares are counted in objects and in bytes, because either can hide in the other: a
hundred small ones among a million, or one that holds half of all bytes. `ALWAYS` objects may go whatever their share,
or a prefix of a dozen objects could never be swept, and one rejected giant among small ones would lie there for ever.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from broker.domain.errors import ConfigurationInvalid, Unavailable
from broker.ports import Bucket, Clock, ListedObject, ObjectLister
from broker.services.adopt import Adopt
from broker.services.at_once import at_once
from broker.services.broom import Broom, is_over
from broker.services.findings import Find, Finding, Standing, standing
from broker.services.store_marks import MatchStore
from broker.services.sweep_report import SweepReport

T = TypeVar("T")

AT_MOST = 0.05  # DESIGN: above 5 % of a listing it stops
ALWAYS = 10  # ours: objects that may go in one pass whatever their share
MOST = 10_000  # ours: removals that one pass remembers, some 10 MB; the next one finds the others
AT_ONCE = 32  # ours: calls to one store


@dataclass(slots=True, kw_only=True)
class _Pass:
    """One sweep under way."""

    bucket: Bucket
    lister: ObjectLister
    report: SweepReport
    broom: Broom | None
    removable: list[Finding[ListedObject]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    find: Find
    match: MatchStore
    adopt: Adopt
    clock: Clock

    async def __call__(self, bucket: Bucket, broom: Broom | None, *, at_most: float = AT_MOST) -> SweepReport:
        """:param broom: what to act with; None only looks.
        :param at_most: the share of objects, and of bytes, that may go.
        :raises StoreMismatch: the ledger and this destination do not belong together; nothing was listed.
        :raises LedgerUnavailable, StoreUnavailable, StoreRefused, CredentialsUnavailable: the listing did not come to
            its end; nothing was removed.
        """
        if bucket.lister is None:
            raise ConfigurationInvalid(f"destination {bucket.destination.name!r} cannot be listed")
        await self.match(bucket)
        begun = time.monotonic()
        under_way = _Pass(bucket=bucket, lister=bucket.lister, report=self._blank(bucket, broom), broom=broom)
        await self._list(under_way)
        report = under_way.report
        report.stopped = _too_many(report, at_most)
        if broom and not report.stopped:
            await self._remove(under_way, broom)
        await self._uploads(under_way)
        report.seconds = round(time.monotonic() - begun, 3)
        return report

    def _blank(self, bucket: Bucket, broom: Broom | None) -> SweepReport:
        place = bucket.destination
        return SweepReport(
            destination=place.name,
            bucket=place.bucket,
            prefix=place.prefix,
            is_dry_run=broom is None,
            started_at=self.clock.now(),
        )

    async def _list(self, under_way: _Pass) -> None:
        place, report = under_way.bucket.destination, under_way.report
        floor = await self.adopt.floor(place)
        async for page in under_way.lister.objects():
            unknown, late = [], []
            for found in await self.find(place, page):
                stands = standing(found, place, floor=floor, now=self.clock.now())
                _count(report, found, stands)
                if stands is Standing.REMOVABLE and len(under_way.removable) < MOST:
                    # Without its record: whoever removes it asks again.
                    under_way.removable.append(Finding(listed=found.listed, session_id=found.session_id))
                elif stands is Standing.REMOVABLE:
                    report.is_partial = True
                elif found.listed.is_latest and stands is Standing.UNKNOWN:
                    unknown.append(found)
                elif stands is Standing.LATE:
                    late.append(found)
            if under_way.broom:
                await self._take_in(under_way, under_way.broom, unknown)
                await self._settle_late(under_way, under_way.broom, late)

    async def _take_in(self, under_way: _Pass, broom: Broom, unknown: Sequence[Finding[ListedObject]]) -> None:
        report = under_way.report
        outcomes = await at_once(AT_ONCE, [partial(broom.take_in, under_way.bucket, found) for found in unknown])
        for found, outcome in zip(unknown, outcomes, strict=True):
            if isinstance(outcome, Unavailable):
                report.failed += 1
            elif outcome == "adopted":
                report.adopted.add(found.listed.size_bytes)
            elif outcome == "not-ours":
                report.not_ours.add(found.listed.size_bytes)

    async def _settle_late(self, under_way: _Pass, broom: Broom, late: Sequence[Finding[ListedObject]]) -> None:
        answers = await at_once(AT_ONCE, [partial(broom.settle_late, under_way.bucket, found) for found in late])
        for found, accepted in zip(late, answers, strict=True):
            if isinstance(accepted, Unavailable):
                under_way.report.failed += 1
            elif accepted:
                under_way.report.accepted.add(found.listed.size_bytes)

    async def _remove(self, under_way: _Pass, broom: Broom) -> None:
        report, removable = under_way.report, under_way.removable
        for start in range(0, len(removable), AT_ONCE * 8):
            some = removable[start : start + AT_ONCE * 8]
            outcomes = await at_once(AT_ONCE, [partial(broom.remove, under_way.bucket, found) for found in some])
            for found, outcome in zip(some, outcomes, strict=True):
                if isinstance(outcome, Unavailable):
                    report.failed += 1
                elif outcome == "removed":
                    report.removed.add(found.listed.size_bytes)
                elif outcome == "not-ours":
                    report.not_ours.add(found.listed.size_bytes)

    async def _uploads(self, under_way: _Pass) -> None:
        """Never by what is unknown: a lifecycle rule of the bucket is for those."""
        bucket, report = under_way.bucket, under_way.report.uploads
        broom = None if under_way.report.stopped else under_way.broom
        async for page in under_way.lister.uploads():
            over = []
            for found in await self.find(bucket.destination, page):
                if found.session_id is None:
                    report.foreign += 1
                elif not found.is_known:
                    report.unknown += 1
                    ages = [found.listed.initiated, *([report.oldest_unknown] if report.oldest_unknown else [])]
                    report.oldest_unknown = min(ages)
                elif is_over(found, bucket):
                    over.append(found)
                else:
                    report.live += 1
            report.over += len(over)
            if broom:
                cleared = await at_once(AT_ONCE, [partial(broom.clear, bucket, found) for found in over])
                report.aborted += sum(done is True for done in cleared)
                under_way.report.failed += sum(isinstance(done, Unavailable) for done in cleared)


def _count(report: SweepReport, found: Finding[ListedObject], stands: Standing) -> None:
    if stands is Standing.MARK:
        return
    getattr(report, stands.value).add(found.listed.size_bytes)
    if stands is not Standing.FOREIGN:
        report.listed.add(found.listed.size_bytes)


def _too_many(report: SweepReport, at_most: float) -> str | None:
    gone, listed = report.removable, report.listed
    if gone.objects <= ALWAYS:
        return None
    of_objects, of_bytes = gone.objects / listed.objects, gone.size_bytes / max(listed.size_bytes, 1)
    if max(of_objects, of_bytes) <= at_most:
        return None
    return (
        f"{gone.objects} of {listed.objects} objects ({of_objects:.1%}) with {of_bytes:.1%} of the bytes would go, "
        f"more than {at_most:.0%}: nothing was removed; see whether the ledger is what you think it is"
    )
