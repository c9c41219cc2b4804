"""The rooms of one run, put together."""

from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from uploader import events
from uploader.means import Means
from uploader.transfer.collector import LOOKERS, Collector
from uploader.transfer.declaring import Declaring
from uploader.transfer.gate import Gate
from uploader.transfer.gated import gated
from uploader.transfer.items import Small
from uploader.transfer.large import SLOTS, LargeFiles
from uploader.transfer.line import Line
from uploader.transfer.meter import TreeMeter
from uploader.transfer.minter import FILES_AHEAD, MINTERS, Minter
from uploader.transfer.order import TreeOrder
from uploader.transfer.reading import Reading
from uploader.transfer.register import Register
from uploader.transfer.room import Room
from uploader.transfer.small import Lane, SmallFiles
from uploader.transfer.steps import Steps
from uploader.transfer.telling import notifying, slowing
from uploader.transfer.troubles import Troubles
from uploader.transfer.watch import Watch
from uploader.tree.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    minter: Minter
    small: SmallFiles
    large: LargeFiles
    collector: Collector
    register: Register
    jobs: int

    def minters(self) -> list[Coroutine[Any, Any, None]]:
        """Once they have ended, every file is at rest."""
        return [self.minter.run() for _ in range(MINTERS)]

    def senders(self) -> Iterator[Coroutine[Any, Any, None]]:
        yield from (self.small.work() for _ in range(self.jobs))
        yield from (self.large.work() for _ in range(SLOTS))

    def attendants(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Who only ends when nobody needs him any more."""
        yield self.minter.renew()
        yield from (self.collector.work() for _ in range(LOOKERS))

    def close(self) -> None:
        """Nothing new is begun. What was granted but not begun is pending again, with its session."""
        for item in (*self.small.ready.close(), *self.minter.close()):
            self.register.released(item.row)
        for row in self.large.line.close():
            self.register.released(row)


def furnish(
    order: TreeOrder,
    steps: Steps,
    key_of: Callable[[Row], str],
    means: Means,
    lane: Lane,
    watch: Watch,
    meter: TreeMeter,
    observer: events.TreeObserver,
) -> Rooms:
    notify = notifying(observer)
    ready: Line[Small] = Line()
    line: Line[Row] = Line()
    ahead, memory = Room(FILES_AHEAD), Room(order.memory_bytes)
    gate = Gate(order.jobs, meter, slowing(observer))
    declaring = Declaring(order, key_of)
    register = Register(steps, watch, meter, observer)
    collector = Collector(
        broker=means.broker,
        register=register,
        watch=watch,
        wait=order.wait,
        timeout=order.timeout,
        notify=notify,
    )
    minter = Minter(
        steps=steps,
        broker=means.broker,
        declaring=declaring,
        reading=Reading(
            algorithms=declaring.algorithms,
            follows_symlinks=order.follows_symlinks,
            needs_md5=order.checksum != "none",
        ),
        register=register,
        collector=collector,
        watch=watch,
        ready=ready,
        large=line,
        ahead=ahead,
        memory=memory,
        executor=means.executor,
        retry=means.retry,
        notify=notify,
        takes_small=len(order.destinations) < 2,
    )
    return Rooms(
        minter=minter,
        small=SmallFiles(
            lane=lane,
            gate=gate,
            ready=ready,
            minter=minter,
            register=register,
            collector=collector,
            watch=watch,
            meter=meter,
            ahead=ahead,
            memory=memory,
            retry=means.retry,
        ),
        large=LargeFiles(
            order=order,
            steps=steps,
            means=gated(means, gate, watch),
            declaring=declaring,
            register=register,
            collector=collector,
            troubles=Troubles(register=register, watch=watch),
            watch=watch,
            meter=meter,
            line=line,
            ahead=ahead,
        ),
        collector=collector,
        register=register,
        jobs=order.jobs,
    )
