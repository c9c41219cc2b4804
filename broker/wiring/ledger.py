"""The ledger: Redis, checked before anybody relies on it."""

from collections.abc import Callable
from contextlib import AsyncExitStack

from broker.ledger.redis import RedisLedger
from broker.settings import LedgerSettings


async def open_ledger(
    settings: LedgerSettings, stack: AsyncExitStack, *, news: Callable[[], None] | None = None
) -> RedisLedger:
    """:raises ConfigurationInvalid: Redis is older than 6.2, or set so that it would lose what was promised."""
    ledger = RedisLedger(
        settings.url, shards=settings.shards, durability=settings.durability, is_dev=settings.is_dev, news=news
    )
    stack.push_async_callback(ledger.close)
    await ledger.prepare()
    return ledger
