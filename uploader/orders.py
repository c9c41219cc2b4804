"""What is ordered of an upload, and what comes of it."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from broker.contract import Checksum, CreateUploadSession, State, UploadSession
from uploader.checksums import Algorithm
from uploader.errors import UploaderError
from uploader.source import Source

Wait = Literal["none", "verified", "processed"]
Strategy = Literal["auto", "put", "multipart", "resumable"]

LOST = frozenset({State.REJECTED, State.EXPIRED, State.ABORTED, State.FAILED})
REACHED: dict[Wait, frozenset[State]] = {
    "none": frozenset(State),
    "verified": frozenset({State.VERIFIED, State.PROCESSING, State.PROCESSED}),
    "processed": frozenset({State.PROCESSED}),
}


ENOUGH = REACHED["verified"] | {State.FAILED}
"""A fan-out that has as many copies as it needs, whatever became of its job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyResult:
    """What became of one copy of a fan-out.

    :ivar error: why nothing that counts is there, or None.
    :ivar sent_bytes: nothing, if it was there already.
    :ivar proved: see `UploadResult`.
    """

    destination: str
    bucket: str
    key: str
    state: State
    attempts: int
    sent_bytes: int
    error: UploaderError | None = None
    proved: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How the bytes went.

    :ivar sent_at: when the last of them had, on the monotonic clock.
    """

    session: UploadSession
    attempts: int
    sent_bytes: int
    sent_at: float
    proved: str | None = None
    copies: tuple[CopyResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadResult:
    """An upload that reached the wished state. `destination`, `bucket` and `key` of a fan-out are its first copy's.

    :ivar attempts: PUTs, of the object or of its parts.
    :ivar sent_bytes: less than the size if an interrupted upload was taken up; of a fan-out, to all copies.
    :ivar proved: by which digest, computed while the bytes left or declared before, the store turned out to have what
        was sent: "md5", "sha256" … None if nobody knows, as under a key of KMS, or of parts that an earlier call sent.
        Of a fan-out what holds for all its copies.
    :ivar copies: of a fan-out.
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
    proved: str | None = None
    copies: tuple[CopyResult, ...] = ()

    @property
    def missing(self) -> tuple[CopyResult, ...]:
        """Copies that are not there although the session has enough of them. The same call sends these alone."""
        return tuple(copy for copy in self.copies if copy.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to upload, and how far to follow it.

    :ivar wanted: what is declared; size and checksum are filled in by the engine.
    :ivar algorithms: of the digests that are declared.
    :ivar algorithms_if_required: where the destination turns out to demand one, and none was declared.
    :ivar timeout: for the wished state, counted from the last byte.
    :ivar jobs: parts under way at a time, for each copy.
    :ivar is_repeatable: its key is the caller's, who can ask for the same session again.
    :ivar is_proof_sought: hash what is sent, and compare it with what the store has.
    """

    source: Source
    wanted: CreateUploadSession
    algorithms: tuple[Algorithm, ...] = ("sha256",)
    algorithms_if_required: tuple[Algorithm, ...] = ()
    wait: Wait = "verified"
    timeout: timedelta = timedelta(minutes=10)
    keeps_session: bool = False
    jobs: int = 6
    idempotency_key: str
    is_repeatable: bool = False
    is_proof_sought: bool = True
