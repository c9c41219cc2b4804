"""Where an earlier command stopped, and whether to go on there.

An unchanged file goes on while its session is pending, and takes the session as its own when it was verified unheard. A
file that changed gets a new session and the old one is aborted; so does one whose session has come to a bad end. A
fan-out goes on as long as its copies can be minted again, which is longer than it is pending; of one that was killed
before it heard of its session, the note holds the key that finds it, and the digests, so that nothing is hashed twice.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from broker.contract import Checksum, MultipartUpload, ResumableUpload, State, UploadSession
from uploader import events
from uploader.client import BrokerClient
from uploader.errors import BrokerRefused, Unreachable, UploaderError
from uploader.resume import Note, Page
from uploader.retry import RetryPolicy
from uploader.source import Origin
from uploader.voice import Voice

USEFUL = frozenset({State.PENDING, State.VERIFIED, State.PROCESSING, State.PROCESSED})
NO_MORE_COPIES = frozenset({State.ABORTED, State.REJECTED})
ABORT_TIMEOUT = timedelta(seconds=5)
UNHEARD_LIVES = timedelta(hours=24)  # the broker keeps an Idempotency-Key at least so long
COPIES_LIVE = timedelta(days=7)  # ours: so long after its deadline a fan-out's missing copies are worth a note


@dataclass(slots=True, kw_only=True)
class Bookmark:
    """The note of one upload, read once and kept up to date.

    :ivar is_left: there is a note that a later command will find.
    :ivar promise: of an earlier command that did not hear whether its session was minted.
    """

    page: Page
    origin: Origin
    broker: BrokerClient
    retry: RetryPolicy
    voice: Voice
    is_left: bool = field(init=False, default=False)
    promise: Note | None = field(init=False, default=None)

    async def take_up(self) -> UploadSession | None:
        """The session to go on with, if there is one. A pending one says which parts are missing.

        :raises Unreachable: nobody can say how far it is; the note stays.
        """
        note = self.page.read()
        if note is None:
            return None
        self.is_left = True
        if not note.session_id:
            self._take_promise(note)
            return None
        session = await self._ask(note)
        if (why := self._objection(note, session)) is not None:
            await self._abort(note, session)
            self.voice.tell(events.NotResumed(file=self.voice.file, session_id=note.session_id, why=why))
            self.forget()
            return None
        if session is not None:
            self._tell(session)
        return session

    def begin(self, idempotency_key: str, checksum: Checksum) -> None:
        """Leave a note that a session is about to be minted."""
        now = datetime.now(UTC)
        self._write("", now + UNHEARD_LIVES, idempotency_key, checksum)

    def minted(self, session: UploadSession) -> None:
        """Leave a note of a session that has just been minted, if a later command can go on with it."""
        if session.copies:
            self._write(session.id, session.expires_at + COPIES_LIVE)
        elif isinstance(session.upload, ResumableUpload):
            self._write(session.id, session.expires_at, strategy="resumable")
        elif isinstance(session.upload, MultipartUpload):
            self._write(session.id, session.expires_at)

    def _write(
        self,
        session_id: str,
        expires_at: datetime,
        idempotency_key: str = "",
        checksum: Checksum | None = None,
        strategy: Literal["", "resumable"] = "",
    ) -> None:
        note = Note(
            broker=str(self.broker.url),
            path=str(self.origin.path.absolute()),
            size_bytes=self.origin.seen.st_size,
            mtime_ns=self.origin.seen.st_mtime_ns,
            session_id=session_id,
            expires_at=expires_at,
            idempotency_key=idempotency_key,
            checksum=checksum,
            strategy=strategy,
        )
        self.is_left = self.page.write(note)

    def forget(self) -> None:
        self.page.remove()
        self.is_left = False

    def close(self) -> None:
        self.page.close()

    def _take_promise(self, note: Note) -> None:
        if note.is_of(self.origin.seen) and note.expires_at > datetime.now(UTC):
            self.promise = note
        else:
            self.forget()

    def _objection(self, note: Note, session: UploadSession | None) -> str | None:
        """Why this session is not the one to go on with."""
        if session is None:
            return "the broker does not know it any more"
        if not note.is_of(self.origin.seen):
            return "the file changed"
        if session.copies:
            is_over = session.state in NO_MORE_COPIES or session.erased_at
            return f"it is {session.state.value}" if is_over else None
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
            if session.state is not State.PENDING or session.parts or session.copies:
                return session
            if note.strategy == "resumable":  # the store is asked once more, with the URL, before a byte is sent
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
                stored_bytes=_stored_bytes(session),
                size_bytes=session.size_bytes if _is_in_pieces(session) else 0,
                copies={copy.destination: copy.state.value for copy in session.copies or []},
            )
        )


def _is_in_pieces(session: UploadSession) -> bool:
    return session.state is State.PENDING and not session.parts and not session.copies


def _stored_bytes(session: UploadSession) -> int:
    if session.parts:
        return session.parts.stored_bytes
    if session.copies:
        return session.size_bytes * sum(copy.state is State.VERIFIED for copy in session.copies)
    return session.offset_bytes or 0 if _is_in_pieces(session) else session.size_bytes


@dataclass(slots=True)
class NoBookmark:
    """Of an upload that nobody remembers."""

    is_left: bool = False
    promise: Note | None = None

    async def take_up(self) -> UploadSession | None:
        return None

    def begin(self, idempotency_key: str, checksum: Checksum) -> None:
        pass

    def minted(self, session: UploadSession) -> None:
        pass

    def forget(self) -> None:
        pass

    def close(self) -> None:
        pass
