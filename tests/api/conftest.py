from collections.abc import AsyncIterator

import pytest

from tests.api.world import World, build
from tests.clock import FrozenClock


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def world(clock: FrozenClock) -> AsyncIterator[World]:
    world = build(clock)
    async with world.client:
        yield world
