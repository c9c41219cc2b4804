"""Files that are not read into memory, and those that go to several destinations: one at a time in each slot.

A slot mints its file itself, delivers it – by one request, in parts or piece by piece – and leaves the look at what one
request has sent to the collector. Nothing is remembered of an interrupted one but its key, which finds the session
again, and with it what is missing.
"""

import asyncio
import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.contract import Checksum, CreateUploadSession, PutUpload, SessionsOrProblems, UploadSession
from uploader import events
from uploader.checksums import declare
from uploader.copies import FanOut
from uploader.delivery import Delivery
from uploader.errors import (
    BrokerRefused,
    FileChanged,
    FileUnusable,
    SessionLost,
    Unreachable,
    UploaderError,
)
from uploader.means import Means
from uploader.orders import LOST, Order
from uploader.place import Place
from uploader.source import Source, open_source
from uploader.threads import in_thread
from uploader.transfer.collector import Collector
from uploader.transfer.declaring import Declaring, noted
from uploader.transfer.granting import Refusal, of_file, refusal_of
from uploader.transfer.line import Line
from uploader.transfer.meter import TreeMeter
from uploader.transfer.order import TreeOrder
from uploader.transfer.reading import is_as_seen
from uploader.transfer.register import Register
from uploader.transfer.room import Room
from uploader.transfer.steps import Steps
from uploader.transfer.troubles import Troubles
from uploader.transfer.watch import Watch
from uploader.tree.rows import Minted, Row
from uploader.tree.words import shown
from uploader.voice import Voice

SLOTS = 16  # ours: files at a time; the gate says how many requests
PARTS_AT_ONCE = 8  # ours: of one file
GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})  # the last one: a link is there now


@dataclass(slots=True, kw_only=True)
class LargeFiles:
    """:ivar missing_copies: files with as many copies as they need, but not all. They stay `minted`, so that the next
    run sends what is missing.
    """

    order: TreeOrder
    steps: Steps
    means: Means
    declaring: Declaring
    register: Register
    collector: Collector
    troubles: Troubles
    watch: Watch
    meter: TreeMeter
    line: Line[Row]
    ahead: Room
    missing_copies: int = 0

    async def work(self) -> None:
        """One slot, until the run stops."""
        while (row := await self.line.get()) is not None:
            began_at = time.monotonic()
            try:
                await self._send(row)
            except UploaderError as exc:
                self.troubles.befell(row, exc, began_at)
            except asyncio.CancelledError:
                self.register.released(row)
                raise
            self.ahead.give(1)

    async def _send(self, row: Row) -> None:
        source = await self._open(row)
        try:
            await self._deliver(row, source)
        finally:
            source.close()

    async def _open(self, row: Row) -> Source:
        """:raises FileChanged: it is not what the scan saw."""
        path = Path(os.fsdecode(row.absolute))
        loop = asyncio.get_running_loop()
        try:
            source = await loop.run_in_executor(self.means.executor, open_source, path, self._flags)
        except FileUnusable as exc:
            if isinstance(exc.__cause__, OSError) and exc.__cause__.errno in GONE:
                raise FileChanged from exc
            raise
        if source.origin is None or not is_as_seen(row, source.origin.seen):
            source.close()
            raise FileChanged
        return source

    @property
    def _flags(self) -> int:
        """A link that has taken a file's place leads nowhere, unless links are followed."""
        return 0 if self.order.follows_symlinks else os.O_NOFOLLOW

    async def _deliver(self, row: Row, source: Source) -> None:
        voice = Voice(file=shown(row.absolute), observer=events.Silent())
        checksum = await self._hash(row, source)
        try:
            session, is_fresh = await self._mint(row, checksum, voice)
        except BrokerRefused as exc:
            if not self.declaring.may_declare_more(exc.problem, checksum):
                raise
            checksum = await self._hash(row, source)
            session, is_fresh = await self._mint(row, checksum, voice)
        voice.session_id = session.id
        await self.steps.minted(
            [Minted(id=row.id, revision=row.revision, session_id=session.id, checksum=noted(checksum))]
        )
        if session.state in LOST:
            raise SessionLost(session.state, session.reason or None, session_id=session.id)
        with self._metered(row) as meter, _named(session.id):
            if session.copies:
                await self._to_copies(row, session, source, meter, voice, is_fresh=is_fresh)
            else:
                await self._to_one(row, session, source, meter, voice, is_fresh=is_fresh)

    async def _to_one(
        self, row: Row, session: UploadSession, source: Source, meter: events.Meter, voice: Voice, *, is_fresh: bool
    ) -> None:
        delivery = Delivery(
            place=Place(broker=self.means.broker, voice=voice, session=session),
            source=source,
            sender=self.means.sender,
            retry=self.means.retry,
            meter=meter,
            jobs=min(PARTS_AT_ONCE, self.order.jobs),
            is_fresh=is_fresh,
            is_proof_sought=self.order.checksum != "none",
        )
        await delivery.send()
        if self.order.wait == "none" or not isinstance(session.upload, PutUpload):
            await delivery.settle("none" if self.order.wait == "none" else "verified", self.order.timeout)
        self._count(delivery.sent_bytes)
        self.collector.sent(row, session.id, proved=delivery.proved)

    async def _to_copies(
        self, row: Row, session: UploadSession, source: Source, meter: events.Meter, voice: Voice, *, is_fresh: bool
    ) -> None:
        order = Order(
            source=source,
            wanted=_wanted(session),
            wait=self.order.wait,
            timeout=self.order.timeout,
            jobs=min(PARTS_AT_ONCE, self.order.jobs),
            idempotency_key="",
            is_proof_sought=self.order.checksum != "none",
        )
        fan_out = FanOut(session=session, order=order, means=self.means, meter=meter, voice=voice, is_fresh=is_fresh)
        outcome = await fan_out.run()
        self._count(row.size_bytes if outcome.sent_bytes else 0)
        if any(copy.error for copy in outcome.copies):
            self.missing_copies += 1
            self.register.left()
        else:
            self.collector.sent(row, session.id, proved=outcome.proved)

    def _count(self, sent_bytes: int) -> None:
        self.watch.took_bytes()
        self.meter.sent_files += 1
        self.meter.sent_bytes += sent_bytes

    async def _hash(self, row: Row, source: Source) -> Checksum:
        algorithms = self.declaring.algorithms(row.size_bytes)
        if not algorithms:
            return Checksum()
        is_stopped = threading.Event()
        meter = events.Meter(shown(row.absolute), row.size_bytes)
        return await in_thread(
            self.means.executor, is_stopped.set, declare, source, algorithms, meter, is_stopped.is_set
        )

    async def _mint(self, row: Row, checksum: Checksum, voice: Voice) -> tuple[UploadSession, bool]:
        """The session, and whether it is new."""
        retry, attempts = self.means.retry, 0
        while True:
            attempts += 1
            item = self.declaring.item(row, checksum)
            answers = (await self.means.broker.mint_many([item], voice.retrying, SessionsOrProblems)).sessions
            if len(answers) != 1:
                raise Unreachable("the broker's answer is not about the file that it was asked for")
            if answers[0].session:
                return answers[0].session, not answers[0].is_replayed
            if not answers[0].problem:
                raise Unreachable("the broker's answer holds neither a session nor a problem")
            error = of_file(answers[0].problem)
            if refusal_of(error.problem) is not Refusal.LATER:
                raise error
            if retry.is_last(attempts):
                raise Unreachable(f"the broker gives no request after {attempts} attempts; last: {error.message}")
            await asyncio.sleep(retry.delay(attempts).total_seconds())

    @contextmanager
    def _metered(self, row: Row) -> Iterator[events.Meter]:
        meter = events.Meter(shown(row.absolute), row.size_bytes, "sending")
        self.meter.large.append(meter)
        try:
            yield meter
        finally:
            self.meter.large.remove(meter)


@contextmanager
def _named(session_id: str) -> Iterator[None]:
    """An error says which session it ends."""
    try:
        yield
    except UploaderError as exc:
        exc.session_id = exc.session_id or session_id
        raise


def _wanted(session: UploadSession) -> CreateUploadSession:
    return CreateUploadSession(filename=session.filename, size_bytes=session.size_bytes)
