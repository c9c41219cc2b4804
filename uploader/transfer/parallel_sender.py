"""A sender process: `python -m uploader.transfer.parallel_sender FD`, started by the parent of an upload, nobody else.

It takes, mints, sends and looks for itself, as a run of one process does; but its manifest is the parent's, which also
scans, and knows what an earlier run left. It dies with its parent: nobody would write down what it does.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from datetime import timedelta
from functools import partial

import msgspec
import uvloop

from uploader import events
from uploader.errors import EXIT_FAILED, BrokerRefused, UploaderError
from uploader.sdk import Uploader
from uploader.together import together
from uploader.transfer.meter import TreeMeter
from uploader.transfer.parallel_steps import FarSteps
from uploader.transfer.parallel_sum import gauge_of
from uploader.transfer.parallel_wire import Begin, Ended, Frames, Ready, Scanned, Stop, Told, ToSender, to_sender
from uploader.transfer.rooms import Rooms, furnish
from uploader.transfer.watch import Watch
from uploader.transfer.work import Work
from uploader.tree.manifest import key_of

GAUGE_SECONDS = 0.25  # ours: as often as a view looks


class Sender:
    """:ivar meter: of this process alone."""

    def __init__(self, begin: Begin, frames: Frames) -> None:
        self.meter = TreeMeter()
        self._begin = begin
        self._frames = frames
        self._watch = Watch()
        self._steps = FarSteps(frames)

    async def run(self) -> Ended:
        begin = self._begin
        uploader = Uploader(
            begin.broker,
            begin.key,
            retry=begin.retry,
            stall=timedelta(seconds=begin.stall_seconds),
            answer_timeout=timedelta(seconds=begin.answer_seconds),
        )
        hearing = asyncio.create_task(self._hear())
        telling = asyncio.create_task(self._tell())
        try:
            async with uploader, uploader.equipment() as (means, lane):
                rooms = furnish(
                    begin.order,
                    self._steps,
                    partial(key_of, begin.manifest),
                    means,
                    lane,
                    self._watch,
                    self.meter,
                    Observer(self._frames, wants_files=begin.wants_files),
                )
                return await self._work(rooms)
        finally:
            telling.cancel()
            hearing.cancel()

    async def _work(self, rooms: Rooms) -> Ended:
        work = Work(rooms=rooms, watch=self._watch)
        await work.run(self._course(rooms), rooms.senders())
        self._frames.send(self._gauge())
        if work.crash is not None:
            raise work.crash
        return _ended(self._watch.error, rooms.large.missing_copies)

    async def _course(self, rooms: Rooms) -> None:
        await together(rooms.minters())

    async def _hear(self) -> None:
        """What the parent says, until it dies."""
        with suppress(Exception):  # a fault of ours: better no process than a deaf one
            while (frame := await self._frames.read()) is not None:
                self._take_in(to_sender(frame))
        os._exit(EXIT_FAILED)  # at once: somebody else may have the manifest by now

    def _take_in(self, message: ToSender) -> None:
        match message:
            case Scanned():
                self._watch.scanned()
            case Stop():
                self._watch.stop()
            case Begin():
                raise ValueError("it has begun already")
            case answer:
                self._steps.answered(answer)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(GAUGE_SECONDS)
            self._frames.send(self._gauge())

    def _gauge(self) -> msgspec.Struct:
        sent_at = self._watch.sent_at
        return gauge_of(self.meter, time.monotonic() - sent_at if sent_at else None)


class Observer:
    """Tells the parent's, but for the meter, which the parent sums up."""

    def __init__(self, frames: Frames, *, wants_files: bool) -> None:
        self.wants_files = wants_files
        self._frames = frames

    def on_event(self, event: events.TreeEvent) -> None:
        self._frames.send(Told(msgspec.json.encode(event)))

    def on_tree(self, meter: TreeMeter) -> None:
        pass


async def serve(end: socket.socket) -> None:
    """From the first word to the last."""
    frames = await Frames.over(end)
    frames.send(Ready())
    first = await frames.read()
    begin = None if first is None else to_sender(first)
    if not isinstance(begin, Begin):  # it has to end before it began
        return
    try:
        ended = await Sender(begin, frames).run()
    except Exception as exc:
        # Its class alone: who knows what its text holds. What it had in its hands is the parent's now.
        ended = Ended(why=f"a fault of ours in a sender process: {type(exc).__name__}", exit_code=EXIT_FAILED)
    frames.send(ended)
    await frames.close()


def _ended(error: UploaderError | None, missing_copies: int) -> Ended:
    if error is None:
        return Ended(missing_copies=missing_copies)
    problem = error.problem if isinstance(error, BrokerRefused) else None
    return Ended(why=error.message, exit_code=error.exit_code, problem=problem, missing_copies=missing_copies)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal, or systemd, sends it to all of us: the parent decides
        signal.signal(number, signal.SIG_IGN)
    uvloop.run(serve(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
