"""Where the parent serves one sender process: its steps are taken on the manifest, and what it holds is remembered.

A sender that dies leaves files that it had claimed, and others that have a session already. The former were never sent
and are pending again at once; the latter may be in the bucket, and the broker is asked about them before anybody sends
them again – as after the death of the whole program.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from msgspec import Struct

from uploader.transfer.parallel_wire import (
    Answered,
    Asked,
    Ended,
    Frames,
    FromSender,
    Gauge,
    LookedAgain,
    NoteChanged,
    Noted,
    NoteFailed,
    NoteMinted,
    NoteReleased,
    NoteRenewed,
    NoteSent,
    NoteVerified,
    NotNoted,
    Ready,
    Take,
    Taken,
    Told,
    from_sender,
)
from uploader.transfer.steps import Steps
from uploader.tree.errors import ManifestUnusable
from uploader.tree.rows import Mark


class Desk:
    """One for each sender process.

    :ivar is_ready: it runs.
    :ivar ended: how it said that it ended; None as long as it has not, and if it died.
    """

    def __init__(
        self,
        steps: Steps,
        frames: Frames,
        *,
        has_abandoned: asyncio.Event,
        greet: Callable[[], Iterable[Struct]],
        gauge: Callable[[Gauge], None],
        told: Callable[[bytes], None],
    ) -> None:
        """
        :param has_abandoned: to be set when there is a session that nobody will finish.
        :param greet: what to say to it once it runs.
        """
        self.is_ready = False
        self.ended: Ended | None = None
        self._steps = steps
        self._greet = greet
        self._has_abandoned = has_abandoned
        self._frames = frames
        self._gauge = gauge
        self._told = told
        self._claimed: dict[int, Mark] = {}
        self._crash: Exception | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Until the process has ended, well or not; what it had asked for until then is written."""
        while (frame := await self._frames.read()) is not None:
            self._take_in(from_sender(frame))
        while self._under_way:
            await asyncio.wait(self._under_way)
        if self._claimed:
            await self._steps.released([*self._claimed.values()])
        await self._frames.close()
        if self._crash is not None:
            raise self._crash

    def _take_in(self, message: FromSender) -> None:
        """Steps are taken side by side, so that those that wait together are written together."""
        if isinstance(message, Gauge):
            self._gauge(message)
        elif isinstance(message, Told):
            self._told(message.event)
        elif isinstance(message, Ended):
            self.ended = message
        elif isinstance(message, Ready):
            self.is_ready = True
            for each in self._greet():
                self._frames.send(each)
        else:
            task = asyncio.create_task(self._answer(message))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _answer(self, ask: Asked) -> None:
        try:
            answer = await self._do(ask)
        except ManifestUnusable as exc:
            answer = NotNoted(number=ask.number, why=exc.message)
        except Exception as exc:  # a fault of ours, which ends the sender, too: nobody shall wait for an answer
            self._crash = self._crash or exc
            await self._frames.close()
            return
        self._frames.send(answer)
        await self._frames.drain()

    async def _do(self, ask: Asked) -> Answered:
        match ask:
            case Take():
                return await self._take(ask)
            case NoteMinted():
                await self._leave(self._steps.minted(ask.files), ask.files)
            case NoteSent():
                await self._steps.sent(ask.files)
            case NoteVerified():
                await self._leave(self._steps.verified(ask.files), ask.files)
            case NoteFailed():
                await self._leave(self._steps.failed(ask.files, ask.abandoned), ask.files)
                self._leave_sessions(ask.abandoned)
            case NoteReleased():
                await self._leave(self._steps.released(ask.files), ask.files)
            case NoteRenewed():
                await self._leave(self._steps.renewed(ask.files, ask.abandoned), ask.files)
                self._leave_sessions(ask.abandoned)
            case NoteChanged():
                is_there = await self._steps.changed(ask.files)
                self._forget(row.id for row in ask.files)
                return LookedAgain(number=ask.number, is_there=is_there)
        return Noted(number=ask.number)

    async def _take(self, ask: Take) -> Taken:
        rows = await self._steps.take(ask.limit)
        self._claimed.update((row.id, Mark(id=row.id, revision=row.revision)) for row in rows)
        return Taken(number=ask.number, rows=rows)

    async def _leave(self, step: Awaitable[None], files: Iterable[Mark]) -> None:
        """Once it is written they are not merely claimed any more."""
        await step
        self._forget(file.id for file in files)

    def _leave_sessions(self, abandoned: Sequence[str]) -> None:
        if abandoned:
            self._has_abandoned.set()

    def _forget(self, ids: Iterable[int]) -> None:
        for each in ids:
            self._claimed.pop(each, None)
