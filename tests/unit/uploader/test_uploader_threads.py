"""Work in a thread outlives whoever waits for it, but not what it was given."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from uploader.threads import ends_by_itself, in_thread, opened

WAIT_SECONDS = 20


@dataclass(slots=True)
class Door:
    """Opens when it is told to, and knows whether it was closed."""

    is_asked: threading.Event = field(default_factory=threading.Event)
    may_open: threading.Event = field(default_factory=threading.Event)
    is_closed: bool = False

    def open(self) -> "Door":
        self.is_asked.set()
        assert self.may_open.wait(WAIT_SECONDS)
        return self

    def fail(self) -> "Door":
        self.open()
        raise OSError("it is stuck")

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def cancelled(work: Awaitable[object], door: Door, times: int) -> None:
    """Cancel it so often while its thread is at work; it ends after the thread."""
    task = asyncio.ensure_future(work)
    assert await asyncio.to_thread(door.is_asked.wait, WAIT_SECONDS)
    for _ in range(times):
        task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not task.done()
    door.may_open.set()
    async with asyncio.timeout(WAIT_SECONDS):
        await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_what_was_opened_for_somebody_who_has_gone_is_closed(executor: ThreadPoolExecutor, times: int) -> None:
    door = Door()
    await cancelled(opened(executor, door.open), door, times)
    assert door.is_closed


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("job", [Door.open, Door.fail])
async def test_whoever_is_cancelled_waits_for_his_thread(
    executor: ThreadPoolExecutor, times: int, job: Callable[[Door], Door]
) -> None:
    door = Door()
    await cancelled(in_thread(executor, ends_by_itself, job, door), door, times)


async def test_what_could_not_be_opened_is_nobodys(executor: ThreadPoolExecutor) -> None:
    door = Door()
    await cancelled(opened(executor, door.fail), door, 2)
    assert not door.is_closed
