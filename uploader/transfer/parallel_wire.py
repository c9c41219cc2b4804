"""What the parent of an upload and its sender processes say to each other, over a socket pair that nobody else has.

A frame is a length of four bytes and a message in MessagePack. The first one tells a sender all that it must know, the
broker's key included: a command line and an environment are read by others.
"""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

import msgspec
from msgspec import Struct

from broker.contract import Problem
from uploader.events import Phase
from uploader.retry import RetryPolicy
from uploader.transfer.order import TreeOrder
from uploader.tree.rows import Failed, Mark, Minted, Row

MAX_FRAME_BYTES = 64 << 20  # ours: 2,000 rows of the longest paths that Linux has (4 KiB) are 8 MiB
_LENGTH_BYTES = 4


class Begin(Struct, frozen=True, kw_only=True, tag=True):
    """The first message to a sender.

    :ivar key: the broker's; secret.
    :ivar wants_files: somebody wants to hear of each file that is verified.
    """

    broker: str
    key: str
    order: TreeOrder
    manifest: str
    wants_files: bool
    retry: RetryPolicy
    stall_seconds: float
    answer_seconds: float

    def __repr__(self) -> str:
        return f"Begin(broker={self.broker!r}, key=***)"


# --- a sender asks; each has a number, which its answer bears


class Ask(Struct, frozen=True, kw_only=True):
    number: int


class Take(Ask, frozen=True, kw_only=True, tag=True):
    limit: int


class NoteMinted(Ask, frozen=True, kw_only=True, tag=True):
    files: Sequence[Minted]


class NoteSent(Ask, frozen=True, kw_only=True, tag=True):
    files: Sequence[Mark]


class NoteVerified(Ask, frozen=True, kw_only=True, tag=True):
    files: Sequence[Mark]


class NoteFailed(Ask, frozen=True, kw_only=True, tag=True):
    files: Sequence[Failed]
    abandoned: Sequence[str]


class NoteReleased(Ask, frozen=True, kw_only=True, tag=True):
    files: Sequence[Mark]


class NoteRenewed(Ask, frozen=True, kw_only=True, tag=True):
    files: Sequence[Mark]
    abandoned: Sequence[str]


class NoteChanged(Ask, frozen=True, kw_only=True, tag=True):
    files: Sequence[Row]


# --- and is answered


class Taken(Struct, frozen=True, kw_only=True, tag=True):
    number: int
    rows: Sequence[Row]


class Noted(Struct, frozen=True, kw_only=True, tag=True):
    number: int


class LookedAgain(Struct, frozen=True, kw_only=True, tag=True):
    number: int
    is_there: Sequence[bool]


class NotNoted(Struct, frozen=True, kw_only=True, tag=True):
    """The manifest does not take it."""

    number: int
    why: str


# --- what else a sender is told


class Scanned(Struct, frozen=True, tag=True):
    """Whatever is to be sent is in the manifest now."""


class Stop(Struct, frozen=True, tag=True):
    """Begin nothing new; let go of what is not under way."""


# --- what a sender tells


class Ready(Struct, frozen=True, tag=True):
    """It runs, and has been told nothing yet."""


class LargeFile(Struct, frozen=True, kw_only=True, gc=False):
    name: str
    label: str
    phase: Phase
    state: str
    total_bytes: int
    done_bytes: int


class Gauge(Struct, frozen=True, kw_only=True, tag=True):
    """How far this process is, a few times a second.

    :ivar sent_ago: seconds since the store took something for the last time.
    """

    sent_files: int
    sent_bytes: int
    resent_bytes: int
    verified_files: int
    verified_bytes: int
    failed_files: int
    failed_bytes: int
    vanished_files: int
    concurrency: int
    limit: int
    sent_ago: float | None
    large: Sequence[LargeFile]


class Told(Struct, frozen=True, tag=True):
    """An event for whoever looks on, as JSON."""

    event: bytes


class Ended(Struct, frozen=True, kw_only=True, tag=True):
    """The last message of a sender.

    :ivar why: what ended it before its end; empty, and nothing is left for it to do. `problem`: the broker's, if it is.
    :ivar missing_copies: files with as many copies as they need, but not all.
    """

    why: str = ""
    exit_code: int = 0
    problem: Problem | None = None
    missing_copies: int = 0


Asked = Take | NoteMinted | NoteSent | NoteVerified | NoteFailed | NoteReleased | NoteRenewed | NoteChanged
FromSender = Asked | Ready | Gauge | Told | Ended
Answered = Taken | Noted | LookedAgain | NotNoted
ToSender = Begin | Answered | Scanned | Stop

from_sender = msgspec.msgpack.Decoder(FromSender).decode
to_sender = msgspec.msgpack.Decoder(ToSender).decode


class Frames:
    """One end. Whoever is at the other one is this very program, so what cannot be read is a mistake of ours."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Self:
        return cls(*await asyncio.open_connection(sock=end))

    async def read(self) -> bytes | None:
        """None when the other process has ended, in the middle of a frame or not."""
        try:
            size = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES))
            if size > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {size} bytes")
            return await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def send(self, message: Struct) -> None:
        """Lost without a word if the other process has ended: its reader is who notices."""
        if self._writer.is_closing():
            return
        body = _encode(message)
        if len(body) > MAX_FRAME_BYTES:
            raise ValueError(f"a frame of {len(body)} bytes")
        self._writer.writelines((len(body).to_bytes(_LENGTH_BYTES), body))

    async def drain(self) -> None:
        """Until there is room for more. That nobody reads any more is noticed by whoever reads."""
        with suppress(ConnectionError):
            await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


_encode = msgspec.msgpack.Encoder().encode
