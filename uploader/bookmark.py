"""Where an earlier command stopped, and whether to go on there.

An unchanged file goes on while its session is pending, and takes the session as its own when it was verified unheard. A
file that changed gets a new session and the old one is aborted; so does one whose session has come to a bad end.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from broker.contract import State, UploadSession
from uploader import events
from uploader.client import BrokerClient
from uploader.errors import BrokerRefused, Unreachable, UploaderError
from uploader.resume import Note, Page
from uploader.retry import RetryPolicy
from uploader.source import Origin
from uploader.voice import Voice

USEFUL = frozenset({State.PENDING, State.VERIFIED, State.PROCESSING, State.PROCESSED})
ABORT_TIMEOUT = timedelta(seconds=5)


@dataclass(slots=True, kw_only=True)
class Bookmark:
    """The note of one upload, read once and kept up to date.

    :ivar is_left: there is a note that a later command will find.
    """

    page: Page
    origin: Origin
    broker: BrokerClient
    retry: RetryPolicy
    voice: Voice
    is_left: bool = field(init=False, default=False)

    async def take_up(self) -> UploadSession | None:
        """The session to go on with, if there is one. A pending one says which parts are missing.

        :raises Unreachable: nobody can say how far it is; the note stays.
        """
        note = self.page.read()
        if note is None:
            return None
        self.is_left = True
        session = await self._ask(note)
        if (why := self._objection(note, session)) is not None:
            await self._abort(note, session)
            self.voice.tell(events.NotResumed(file=self.voice.file, session_id=note.session_id, why=why))
            self.forget()
            return None
        if session is not None:
            self._tell(session)
        return session

    def begin(self, session: UploadSession) -> None:
        """Leave a note of a session that has just been minted."""
        note = Note(
            broker=str(self.broker.url),
            path=str(self.origin.path.absolute()),
            size_bytes=self.origin.seen.st_size,
            mtime_ns=self.origin.seen.st_mtime_ns,
            session_id=session.id,
            expires_at=session.expires_at,
        )
        self.is_left = self.page.write(note)

    def forget(self) -> None:
        self.page.remove()
        self.is_left = False

    def close(self) -> None:
        self.page.close()

    def _objection(self, note: Note, session: UploadSession | None) -> str | None:
        """Why this session is not the one to go on with."""
        if session is None:
            return "the broker does not know it any more"
        if not note.is_of(self.origin.seen):
            return "the file changed"
        if session.state not in USEFUL:
            return f"it is {session.state.value}"
        if session.state is State.PENDING and session.expires_at <= datetime.now(UTC):
            return "its time is over"
        return None

    async def _ask(self, note: Note) -> UploadSession | None:
        """As the broker sees it, or None if it does not."""
        try:
            return await self._ask_until_clear(note)
        except BrokerRefused as exc:
            if exc.problem.status != 404:
                raise
            return None

    async def _ask_until_clear(self, note: Note) -> UploadSession:
        attempt = 0
        while True:
            attempt += 1
            session = await self.broker.get(note.session_id, self.voice.retrying)
            if session.state is not State.PENDING or session.parts:
                return session
            if self.retry.is_last(attempt):
                raise Unreachable("the store does not say which parts it has", session_id=note.session_id)
            delay = self.retry.delay(attempt)
            self.voice.retrying("ask", "the store does not say which parts it has", delay, attempt)
            await asyncio.sleep(delay.total_seconds())
            await self.broker.complete(note.session_id, self.voice.retrying)  # it may be there as a whole

    async def _abort(self, note: Note, session: UploadSession | None) -> None:
        if session is None or session.state is not State.PENDING:
            return
        with suppress(UploaderError, TimeoutError):
            async with asyncio.timeout(ABORT_TIMEOUT.total_seconds()):
                await self.broker.abort(note.session_id, self.voice.retrying)

    def _tell(self, session: UploadSession) -> None:
        parts = session.parts or None
        self.voice.tell(
            events.Resumed(
                file=self.voice.file,
                session_id=session.id,
                stored_parts=parts.stored_count if parts else 0,
                part_count=parts.part_count if parts else 0,
                stored_bytes=parts.stored_bytes if parts else session.size_bytes,
            )
        )
