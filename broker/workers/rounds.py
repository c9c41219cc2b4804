"""A loop that must live: rounds without end, trouble logged and waited out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from broker.domain.errors import BrokerError

FIRST_BACKOFF = timedelta(milliseconds=200)
LONGEST_BACKOFF = timedelta(seconds=2)


async def rounds(one: Callable[[], Awaitable[None]], *, name: str, log: logging.Logger) -> None:
    """Runs until cancelled.

    :param name: what its log lines begin with.
    """
    backoff = FIRST_BACKOFF
    while True:
        try:
            await one()
            backoff = FIRST_BACKOFF
            continue
        except BrokerError as trouble:
            log.warning(f"{name}.waiting", extra={"code": trouble.code})
        except Exception:
            log.exception(f"{name}.stumbled")
        await asyncio.sleep(backoff.total_seconds())
        backoff = min(backoff * 2, LONGEST_BACKOFF)
