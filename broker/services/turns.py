"""Turns: long work in short pieces, one piece of anybody's at a time, and the event loop in between.

A batch of a thousand is some 50 ms of computing. Whoever asks for one session meanwhile waits for a piece, not for a
batch, however many batches are under way; and those take turns in the order in which they came.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Turns:
    """One for each process."""

    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # fair: first come, first served

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """What is done inside should take about a millisecond."""
        async with self._lock:
            yield
            await asyncio.sleep(0)


def pieces(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """`size` at a time, in order; the last one may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
