"""Turns: long work in short pieces, one piece of anybody's at a time, and the event loop in between.

A batch of a thousand is some 50 ms of computing. Whoever asks for one session meanwhile waits for a piece, not for a
batch, however many batches are under way; and those take turns in the order in which they came.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


class Turns:
    """One for each process. `async with turns:` is one turn: what is done inside should take half a millisecond."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()  # fair: first come, first served

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        try:
            await asyncio.sleep(0)
        finally:
            self._lock.release()


def pieces(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """`size` at a time, in order; the last one may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
