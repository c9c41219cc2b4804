"""What clients and orchestrators do while the ledger is in trouble: ask again."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from tests.api.world import WISH, World

BACK_WITHIN = 10


def is_away(answer: httpx.Response) -> bool:
    """503 in the broker's own words, and when to come back."""
    if answer.status_code != 503:
        return False
    assert answer.json()["code"] == "ledger-unavailable"
    assert answer.json()["is_retryable"]
    assert int(answer.headers["retry-after"]) >= 1
    return True


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    end = time.monotonic() + BACK_WITHIN
    while not await is_so():
        assert time.monotonic() < end, f"did not happen within {BACK_WITHIN} s"
        await asyncio.sleep(0.02)


async def ready(world: World) -> None:
    async def is_ready() -> bool:
        return (await world.client.get("/readyz")).status_code == 200

    await until(is_ready)


async def mint(world: World, key: str, **changes: Any) -> httpx.Response:
    headers = {**world.as_("app"), "idempotency-key": key}
    return await world.client.post("/upload-sessions", json={**WISH, **changes}, headers=headers)
