"""The steps of a sender process: asked there, taken in the parent, which has the manifest."""

import asyncio
from collections.abc import Sequence
from itertools import count

from uploader.transfer.parallel_wire import (
    Answered,
    Ask,
    Frames,
    LookedAgain,
    NoteChanged,
    NoteFailed,
    NoteMinted,
    NoteReleased,
    NoteRenewed,
    NoteSent,
    NoteVerified,
    NotNoted,
    Take,
    Taken,
)
from uploader.tree.errors import ManifestUnusable
from uploader.tree.rows import Failed, Mark, Minted, Row


class FarSteps:
    """`Steps`, over a pipe."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Answered]] = {}

    def answered(self, answer: Answered) -> None:
        waiting = self._waiting.pop(answer.number)
        if waiting.cancelled():
            return
        if isinstance(answer, NotNoted):
            waiting.set_exception(ManifestUnusable(answer.why))
        else:
            waiting.set_result(answer)

    async def take(self, limit: int) -> list[Row]:
        answer = await self._ask(Take(number=next(self._numbers), limit=limit))
        assert isinstance(answer, Taken)  # noqa: S101 - for the type checker
        return list(answer.rows)

    async def minted(self, files: Sequence[Minted]) -> None:
        await self._ask(NoteMinted(number=next(self._numbers), files=files))

    async def sent(self, files: Sequence[Mark]) -> None:
        await self._ask(NoteSent(number=next(self._numbers), files=files))

    async def verified(self, files: Sequence[Mark]) -> None:
        await self._ask(NoteVerified(number=next(self._numbers), files=files))

    async def failed(self, files: Sequence[Failed], abandoned: Sequence[str]) -> None:
        await self._ask(NoteFailed(number=next(self._numbers), files=files, abandoned=abandoned))

    async def released(self, files: Sequence[Mark]) -> None:
        await self._ask(NoteReleased(number=next(self._numbers), files=files))

    async def renewed(self, files: Sequence[Mark], abandoned: Sequence[str]) -> None:
        await self._ask(NoteRenewed(number=next(self._numbers), files=files, abandoned=abandoned))

    async def changed(self, files: Sequence[Row]) -> list[bool]:
        answer = await self._ask(NoteChanged(number=next(self._numbers), files=files))
        assert isinstance(answer, LookedAgain)  # noqa: S101 - for the type checker
        return list(answer.is_there)

    async def _ask(self, ask: Ask) -> Answered:
        waiting: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._waiting[ask.number] = waiting
        self._frames.send(ask)
        await self._frames.drain()
        return await waiting
