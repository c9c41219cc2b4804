"""A quota over several shards: each shard knows its own part, and what the others had when it was asked."""

import asyncio

from ledger_samples import NOW, a_session

from broker.domain.errors import QuotaExceeded
from broker.ports import Ledger, Quota, Usage

QUOTA, AT_ONCE = Quota(sessions=25), 20


async def create_some(ledger: Ledger, first_shard: int) -> None:
    for number in range(10):
        session = a_session((first_shard + number) % ledger.shards)
        try:
            await ledger.create(session, look_at=NOW, idempotency=None, quota=QUOTA)
        except QuotaExceeded:
            return


async def test_no_more_go_over_it_than_are_under_way_at_once(ledger: Ledger, other: Ledger) -> None:
    await asyncio.gather(*(create_some((ledger, other)[number % 2], number) for number in range(AT_ONCE)))
    used: Usage = await ledger.usage(a_session().facts.principal)
    most = 25 if ledger.shards == 1 else 25 + AT_ONCE
    assert 25 <= used.sessions <= most
