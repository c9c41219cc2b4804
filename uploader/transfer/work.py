"""What is under way in one process: the rooms at work, from the first file to the last, or to an early end."""

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from uploader.errors import UploaderError
from uploader.transfer.rooms import Rooms
from uploader.transfer.watch import Watch

IN_FLIGHT_SECONDS = 2.0  # ours: for what has begun when the run is to stop


@dataclass(slots=True, kw_only=True)
class Work:
    """:ivar crash: a fault of ours, to be raised once everything has come to its end."""

    rooms: Rooms
    watch: Watch
    crash: Exception | None = field(init=False, default=None)

    async def run(
        self,
        course: Coroutine[Any, Any, None],
        senders: Iterable[Coroutine[Any, Any, None]],
        beside: Iterable[Coroutine[Any, Any, None]] = (),
    ) -> None:
        """:param course: ends when every file is at rest.
        :param senders: what they have begun has its time if the run ends early. `beside`: whoever ends at once.
        """
        deciding = self._begin(course)
        others = [self._begin(each) for each in beside]
        sending = [self._begin(each) for each in senders]
        attending = [self._begin(each) for each in self.rooms.attendants()]
        writing = self._begin(self.rooms.register.run())
        stopped = asyncio.create_task(self.watch.stopped.wait())
        try:
            await asyncio.wait([deciding, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_early = not deciding.done() or self.watch.is_stopping
            self.watch.stop()
            self.rooms.close()
            await _ended([deciding, *others, stopped], 0)
            await _ended(sending, IN_FLIGHT_SECONDS if is_early else 0)
            await _ended(attending, 0)
            self.rooms.collector.leave()
            self.rooms.register.close()
            await writing

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """What goes wrong in one room stops all of them."""
        try:
            await work
        except UploaderError as exc:
            self.watch.stop(exc)
        except Exception as exc:
            self.crash = self.crash or exc
            self.watch.stop()


async def _ended(tasks: list[asyncio.Task[Any]], seconds: float) -> None:
    """After so long at most they are stopped."""
    if tasks and seconds:
        await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
