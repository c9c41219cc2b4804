"""What is ordered of an upload, and what comes of it."""

import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from broker.contract import Checksum, CreateUploadSession, State, UploadSession
from uploader.checksums import Algorithm
from uploader.source import Source

Wait = Literal["none", "verified", "processed"]

LOST = frozenset({State.REJECTED, State.EXPIRED, State.ABORTED, State.FAILED})
REACHED: dict[Wait, frozenset[State]] = {
    "none": frozenset(State),
    "verified": frozenset({State.VERIFIED, State.PROCESSING, State.PROCESSED}),
    "processed": frozenset({State.PROCESSED}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadResult:
    """An upload that reached the wished state.

    :ivar attempts: PUTs, of the object or of its parts.
    :ivar sent_bytes: less than the size if an interrupted upload was taken up.
    """

    session_id: str
    state: State
    destination: str
    bucket: str
    key: str
    filename: str
    size_bytes: int
    checksum: Checksum
    attempts: int
    elapsed: timedelta
    sending: timedelta
    sent_bytes: int
    session: UploadSession = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to upload, and how far to follow it.

    :ivar wanted: what is declared; size and checksum are filled in by the engine.
    :ivar timeout: for the wished state, counted from the last byte.
    :ivar jobs: parts under way at a time.
    """

    source: Source
    wanted: CreateUploadSession
    algorithms: tuple[Algorithm, ...] = ("sha256",)
    wait: Wait = "verified"
    timeout: timedelta = timedelta(minutes=10)
    keeps_session: bool = False
    jobs: int = 6
    idempotency_key: str = field(default_factory=lambda: uuid.uuid4().hex)
