"""Recover: after a ledger was lost or restored, every session that its objects still tell of comes back.

Nothing is ever deleted here, and nothing judged: what is adopted is looked at like any other session. Listings show no
metadata, so each object costs a HEAD; while those of one page are under way the next page is fetched.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal

from broker.domain.errors import ConfigurationInvalid, Unavailable
from broker.ports import Bucket, Clock, Identity, ListedObject
from broker.services.adopt import Adopt
from broker.services.adopt import Outcome as Adopted
from broker.services.at_once import at_once
from broker.services.findings import Find, Finding, Standing, standing
from broker.services.store_marks import MatchStore
from broker.services.sweep_report import RecoverReport, Tally

AT_ONCE = 64  # ours: HEADs to one store


@dataclass(frozen=True, slots=True, kw_only=True)
class Recover:
    find: Find
    match: MatchStore
    adopt: Adopt
    identity: Identity
    clock: Clock

    async def __call__(self, bucket: Bucket, *, created_after: datetime | None = None) -> RecoverReport:
        """Adopts what the ledger does not know. Idempotent: what is adopted already is known the next time.

        :param created_after: what was minted up to then was processed, and is adopted neither now nor by whoever comes
            upon it later. None: what may still have a record somewhere (the destination's retention).
        :raises StoreMismatch: the ledger and this destination do not belong together.
        :raises LedgerUnavailable, StoreUnavailable, StoreRefused, CredentialsUnavailable: the listing did not come to
            its end; run it again.
        """
        place, lister = bucket.destination, bucket.lister
        if lister is None:
            raise ConfigurationInvalid(f"destination {place.name!r} cannot be listed")
        await self.match(bucket)
        if created_after is not None:
            await self.identity.set_adoption_floor(place.name, created_after)
        floor = await self.adopt.floor(place) if created_after is None else created_after
        begun, report = time.monotonic(), self._blank(bucket, floor)
        async with aclosing(_ahead(lister.objects())) as pages:
            async for page in pages:
                await self._adopt_page(bucket, page, report)
        report.seconds = round(time.monotonic() - begun, 3)
        return report

    def _blank(self, bucket: Bucket, floor: datetime) -> RecoverReport:
        place = bucket.destination
        return RecoverReport(
            destination=place.name,
            bucket=place.bucket,
            prefix=place.prefix,
            created_after=floor,
            started_at=self.clock.now(),
        )

    async def _adopt_page(self, bucket: Bucket, page: Sequence[ListedObject], report: RecoverReport) -> None:
        unknown: list[Finding[ListedObject]] = []
        latest = [each for each in page if each.is_latest]  # an older version was never what a session waited for
        for found in await self.find(bucket.destination, latest):
            stands = standing(found, bucket.destination, floor=report.created_after, now=report.started_at)
            if stands is Standing.UNKNOWN:
                unknown.append(found)
            elif stands is Standing.FOREIGN:
                report.foreign.add(found.listed.size_bytes)
            elif stands is Standing.FORGOTTEN:
                _count(report, report.too_old, found)
            elif stands is not Standing.MARK:
                _count(report, report.known, found)
        acts = [partial(self._adopt_one, bucket, found.listed.key, report.created_after) for found in unknown]
        for found, outcome in zip(unknown, await at_once(AT_ONCE, acts), strict=True):
            if isinstance(outcome, Unavailable):
                report.listed.add(found.listed.size_bytes)
                report.failed += 1
            else:
                _count(report, getattr(report, outcome.replace("-", "_")), found)

    async def _adopt_one(self, bucket: Bucket, key: str, created_after: datetime) -> Adopted | Literal["gone"]:
        info = await bucket.objects.head(key)
        if info is None:
            return "gone"
        return (await self.adopt(key, bucket, info, created_after=created_after)).outcome


async def _ahead(pages: AsyncIterator[Sequence[ListedObject]]) -> AsyncGenerator[Sequence[ListedObject]]:
    """The same pages, the next one fetched while the caller is busy with this one."""

    async def following() -> Sequence[ListedObject] | None:
        return await anext(pages, None)

    fetching = asyncio.create_task(following())
    try:
        while (page := await fetching) is not None:
            fetching = asyncio.create_task(following())
            yield page
    finally:
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)


def _count(report: RecoverReport, tally: Tally, found: Finding[ListedObject]) -> None:
    tally.add(found.listed.size_bytes)
    report.listed.add(found.listed.size_bytes)
