"""Add the bytes of one request to a session, and lose as few of them as can be when it breaks off.

The service keeps what arrived, in multiples of 256 KiB, however the connection ended; so does this: a segment is
committed every few megabytes, and what lies beyond the last one is cut to whole multiples when the body breaks off.
"""

from collections.abc import AsyncIterator
from typing import Final

from emulators.blobs import Spool
from emulators.gcs.context import Call, Store
from emulators.gcs.errors import GcsError
from emulators.gcs.records import Session, SessionState
from emulators.gcs.turns import Turn
from emulators.refusing import Disconnect

MULTIPLE_BYTES: Final = 262_144  # performing-resumable-uploads: "multiples of 256 KiB"
SEGMENT_BYTES: Final = 32 * MULTIPLE_BYTES


async def fill(store: Store, call: Call, session: Session, *, first: int, end: int, until: int) -> None:
    """Take in a body that is the bytes from `first` to `end`: keep what is new of it and lies before `until`.

    :raises GcsError: InvalidArgument, RequestTimeout, NoSuchUpload.
    :raises Disconnect: when the client left, or somebody else took over.
    """
    turn = store.turns.take(session.id, call.http)
    try:
        await _Filling(store, session, turn, until).run(
            store.intake.arriving(call.http, call.request, session.draft.name), first, end
        )
    finally:
        store.turns.give_back(session.id, turn)


class _Filling:
    def __init__(self, store: Store, session: Session, turn: Turn, until: int) -> None:
        self._store = store
        self._session = session
        self._turn = turn
        self._until = until
        self._kept = store.catalogue.offset(session.id)
        self._spool: Spool | None = None

    async def run(self, body: AsyncIterator[bytes], first: int, end: int) -> None:
        position = first
        try:
            async for data in body:
                await self._take(position, data)
                position += len(data)
        except (Disconnect, GcsError):
            await self._commit(is_cut=True)
            raise
        except BaseException:
            await self._discard()
            raise
        await self._commit(is_cut=position != end)
        if position != end:
            raise GcsError("InvalidArgument", f"The body ended after {position - first} of {end - first} bytes.")

    async def _take(self, position: int, data: bytes) -> None:
        """Of a piece at `position`, what is new and wanted goes into the spool, a segment at a time."""
        if self._turn.is_over:
            raise Disconnect
        data = data[max(0, self._reached - position) : max(0, self._until - position)]
        while data:
            if self._spool is None:
                self._spool = self._store.blobs.spool(())
            room = SEGMENT_BYTES - self._spool.size_bytes
            await self._spool.write(data[:room])
            data = data[room:]
            if self._spool.size_bytes == SEGMENT_BYTES:
                await self._commit(is_cut=False)

    @property
    def _reached(self) -> int:
        return self._kept + (self._spool.size_bytes if self._spool is not None else 0)

    async def _commit(self, *, is_cut: bool) -> None:
        """What the spool holds belongs to the session from now on, unless it is another's turn by now."""
        spool = self._spool
        if spool is None:
            return
        await spool.finish()
        if is_cut:
            await spool.cut(spool.size_bytes - (self._kept + spool.size_bytes) % MULTIPLE_BYTES)
        session = self._store.catalogue.session(self._session.id)
        is_open = session is not None and session.state is SessionState.OPEN
        if self._turn.is_over or not is_open or spool.size_bytes <= 0:
            await self._discard()
            return
        self._spool = None
        for segment in self._store.blobs.adopt(spool):
            self._store.catalogue.add_chunk(self._session.id, self._kept, segment)
            self._kept += segment.size_bytes
        await self._store.hashers.follow(self._session.id, self._store.catalogue.chunks(self._session.id))

    async def _discard(self) -> None:
        if self._spool is not None:
            spool, self._spool = self._spool, None
            await spool.discard()
