"""What became of files, written down together: every 200 ms, or as soon as there are many, or nothing else to wait for.

A file is at rest once this is on the disk; only then is it counted and told.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from uploader import events
from uploader.errors import BrokerRefused, ContentMismatch, UploaderError
from uploader.transfer.meter import TreeMeter
from uploader.transfer.steps import Steps
from uploader.transfer.watch import Watch
from uploader.tree.rows import Failed, Mark, Row
from uploader.tree.words import shown

T = TypeVar("T")

FLUSH_SECONDS = 0.2
FLUSH_FILES = 500
MAX_LOST = 2  # ours: sessions that a file may lose in one run; the next one is its last


class Register:
    """
    :ivar late_files: whose state did not come in time.
    :ivar has_abandoned: set when there is a session that nobody will finish.
    """

    def __init__(self, steps: Steps, watch: Watch, meter: TreeMeter, observer: events.TreeObserver) -> None:
        self._steps = steps
        self._watch = watch
        self._meter = meter
        self._observer = observer
        self.late_files = 0
        self._sent: list[Row] = []
        self._verified: list[tuple[Row, str, str | None]] = []
        self._failed: list[tuple[Row, Failed, str | None]] = []
        self._released: list[Row] = []
        self._renewed: list[tuple[Row, str | None]] = []
        self._changed: list[Row] = []
        self._noted: list[Row] = []
        self._lost: Counter[int] = Counter()
        self._moved: Counter[int] = Counter()
        self._stumbled: Counter[int] = Counter()
        self.has_abandoned = asyncio.Event()
        self._is_due = asyncio.Event()
        self._is_closed = False
        self._writing = asyncio.Lock()

    def __len__(self) -> int:
        """Files that are about to be at rest."""
        well = len(self._sent) + len(self._verified) + len(self._failed)
        return well + len(self._released) + len(self._renewed) + len(self._changed)

    def note_sent(self, row: Row) -> None:
        """The store has it; somebody goes on to look."""
        self._noted.append(row)

    def sent(self, row: Row) -> None:
        """The store has it, and nobody is to look."""
        self._add(self._sent, row)

    def late(self, row: Row) -> None:
        """The same, but somebody was to look, and has not seen what was wished for in time."""
        self.late_files += 1
        self.sent(row)

    def left(self) -> None:
        """A file has a session, is written down as it is, and is for another run to end."""
        self._watch.rested(1)

    def verified(self, row: Row, session_id: str, proved: str | None = None) -> None:
        """:param proved: the digest by which the store has what was sent."""
        self._add(self._verified, (row, session_id, proved))

    def failed(self, row: Row, code: str, message: str, session_id: str | None = None, *, is_alive: bool) -> None:
        """:param is_alive: its session is; it is to be aborted."""
        mark = Failed(id=row.id, revision=row.revision, code=code, message=message)
        self._add(self._failed, (row, mark, session_id if is_alive else None))

    def broke(self, row: Row, error: UploaderError) -> None:
        self.failed(row, error.code, error.message, error.session_id, is_alive=True)

    def released(self, row: Row) -> None:
        """It is to be sent, or finished, with the same session."""
        self._add(self._released, row)

    def lost(self, row: Row, code: str, message: str, session_id: str | None = None, *, is_alive: bool = False) -> None:
        """Its session is of no use: once more with a new one, but not for ever.

        :param is_alive: its session is; it is to be aborted.
        """
        self._lost[row.id] += 1
        if self._lost[row.id] > MAX_LOST:
            self.failed(row, code, message, session_id, is_alive=is_alive)
        else:
            self._add(self._renewed, (row, session_id if is_alive else None))

    def stumbled(self, row: Row, error: UploaderError) -> None:
        """It did not get through although others did: once more with what is missing, but not a second time."""
        self._stumbled[row.id] += 1
        if self._stumbled[row.id] > 1:
            self.broke(row, error)
        else:
            self.released(row)

    def garbled(self, row: Row, error: ContentMismatch) -> None:
        """What arrived is not what was sent. Nothing can be put in its place: its session is aborted, and another is
        minted. Those who send in parts have sent such a part again by themselves."""
        self.lost(row, error.code, error.message, error.session_id, is_alive=True)

    def redeclared(self, row: Row, error: BrokerRefused) -> None:
        """An earlier run has declared it otherwise, and had a session for that."""
        self.lost(row, error.code, error.message, row.session_id, is_alive=row.session_id is not None)

    def changed(self, row: Row, session_id: str | None = None) -> None:
        """It is not what the scan saw: once more as it is now, but not a second time.

        :param session_id: minted since the row was taken.
        """
        session_id = session_id or row.session_id
        self._moved[row.id] += 1
        if self._moved[row.id] > 1:
            self.failed(row, "file-changed", "the file changes while it is read", session_id, is_alive=True)
        else:
            self._add(self._changed, row)

    async def run(self) -> None:
        """Until it is closed; it is never cancelled, for what it has in its hands would be lost."""
        while not self._is_closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._is_due.wait()
            await self.flush()

    def close(self) -> None:
        """Nothing more comes: what is here is written, and that is all."""
        self._is_closed = True
        self._is_due.set()

    async def flush(self) -> None:
        """All that was handed in until now is on the disk afterwards."""
        async with self._writing:
            self._is_due.clear()
            await self._flush()

    async def _flush(self) -> None:
        noted, sent = _taken(self._noted), _taken(self._sent)
        verified, failed = _taken(self._verified), _taken(self._failed)
        released, renewed, changed = _taken(self._released), _taken(self._renewed), _taken(self._changed)
        done = {row.id for row, _, _ in verified}
        work: list[Coroutine[Any, Any, None]] = []
        if sent or noted:
            work.append(self._steps.sent(_marks([row for row in (*noted, *sent) if row.id not in done])))
        if verified:
            work.append(self._steps.verified(_marks([row for row, _, _ in verified])))
        if failed:
            dead = [session_id for _, _, session_id in failed if session_id]
            work.append(self._steps.failed([mark for _, mark, _ in failed], dead))
        if released:
            work.append(self._steps.released(_marks(released)))
        if renewed:
            gone = [session_id for _, session_id in renewed if session_id]
            work.append(self._steps.renewed(_marks([row for row, _ in renewed]), gone))
        if changed:
            work.append(self._look_again(changed))
        if not work:
            return
        await asyncio.gather(*work)
        self._count(verified, failed)
        again = len(released) + len(renewed) + len(changed)
        self._watch.rested(len(sent) + len(verified) + len(failed) + again)
        if again:
            self._watch.stir()
        if failed or renewed or changed:
            self.has_abandoned.set()

    async def _look_again(self, rows: Sequence[Row]) -> None:
        for row, is_there in zip(rows, await self._steps.changed(rows), strict=True):
            if not is_there:
                self._meter.vanished_files += 1
                self._meter.failed_bytes += row.size_bytes

    def _count(
        self, verified: Sequence[tuple[Row, str, str | None]], failed: Sequence[tuple[Row, Failed, str | None]]
    ) -> None:
        self._meter.verified_files += len(verified)
        self._meter.verified_bytes += sum(row.size_bytes for row, _, _ in verified)
        self._meter.failed_files += len(failed)
        self._meter.failed_bytes += sum(row.size_bytes for row, _, _ in failed)
        if self._observer.wants_files:
            for row, session_id, proved in verified:
                self._observer.on_event(
                    events.FileVerified(
                        path=shown(row.absolute), session_id=session_id, size_bytes=row.size_bytes, proved=proved
                    )
                )
        for row, mark, abandoned in failed:
            self._observer.on_event(
                events.FileFailed(path=shown(row.absolute), code=mark.code, message=mark.message, session_id=abandoned)
            )

    def _add(self, buffer: list[T], item: T) -> None:
        buffer.append(item)
        waiting = len(self)
        if waiting >= FLUSH_FILES or waiting >= self._watch.held:
            self._is_due.set()


def _taken(buffer: list[T]) -> list[T]:
    items = buffer[:]
    buffer.clear()
    return items


def _marks(rows: Sequence[Row]) -> list[Mark]:
    return [Mark(id=row.id, revision=row.revision) for row in rows]
