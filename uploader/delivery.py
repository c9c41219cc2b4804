"""The bytes of a file to one place: by one request, in parts or piece by piece, then followed until they count there.

The store's answer only says what to do next: a 2xx and a 412 ("it may be mine") both lead to the broker, whose HEAD
decides.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from broker.contract import MultipartUpload, PartRequest, PartsStatus, ResumableUpload
from uploader import events
from uploader.follow import follow
from uploader.orders import Wait
from uploader.parts import Cut, PartsTransfer
from uploader.place import Place
from uploader.proof import Proof
from uploader.resumable import ResumableTransfer
from uploader.retry import RetryPolicy
from uploader.sender import Answer, Sender
from uploader.single import PutTransfer
from uploader.source import Source


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One object's way. It is tried once; what came to nothing needs another delivery.

    :ivar jobs: parts under way at a time.
    :ivar is_fresh: nobody has sent any of it yet.
    :ivar is_proof_sought: hash what is sent, and compare it with what the store has.
    :ivar proved: by which algorithm it turned out that the object is what was sent; None if nobody knows.
    """

    place: Place
    source: Source
    sender: Sender
    retry: RetryPolicy
    meter: events.Meter
    jobs: int
    is_fresh: bool
    is_proof_sought: bool = True
    proved: str | None = field(init=False, default=None)
    _proof: Proof = field(init=False)
    _transfer: PutTransfer | PartsTransfer | ResumableTransfer | None = field(init=False, default=None)
    _is_sure: bool = field(init=False, default=True)
    _pause: timedelta | None = field(init=False, default=None)
    _has_asked: bool = field(init=False, default=False)
    _begun_at: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._proof = Proof(place=self.place, is_sought=self.is_proof_sought)

    @property
    def attempts(self) -> int:
        """PUTs, of the object or of its parts or pieces."""
        return self._transfer.attempts if self._transfer else 0

    @property
    def sent_bytes(self) -> int:
        """What the store has taken from us."""
        return self._transfer.sent_bytes if self._transfer else 0

    @property
    def sent_at(self) -> float:
        """When it had taken the last of it, on the monotonic clock."""
        return self._transfer.sent_at if self._transfer else self._begun_at

    async def send(self) -> None:
        """Send what is missing.

        :raises UploaderError: the store refuses or does not answer, or the file changed.
        :raises ContentMismatch: the store has other bytes than were sent.
        """
        if not self.is_fresh and not self.place.standing.parts:
            self._pause = await self.place.complete()  # all of it may be there, unheard
            self._has_asked = True
        if not self.place.is_pending:
            return
        if not self.place.standing.upload and not self.place.standing.parts:
            await self.place.renew()
            if not self.place.is_pending:
                return
        match self.place.standing.upload or self.place.standing.parts:
            case MultipartUpload() as cut if self.is_fresh:
                await self._send_parts(cut, range(1, cut.part_count + 1), cut.parts)
            case MultipartUpload() as cut:
                await self.place.look()
                known = self.place.standing.parts
                await self._send_parts(cut, known.missing if known else [])  # it says nothing: ask until it does
            case PartsStatus() as cut:
                await self._send_parts(cut, cut.missing)
            case ResumableUpload():
                await self._send_pieces()
            case _:
                await self._put()
        self.proved = self._proof.verdict()
        self._tell(max(0.0, self.sent_at - self._begun_at))

    async def settle(self, wait: Wait, timeout: timedelta) -> None:
        """Follow it. Where the store did not say that these bytes are stored, "none" is not an answer.

        :raises SessionLost: they do not count.
        :raises WaitTimedOut: nobody knows yet.
        :raises ContentMismatch: what the broker has verified is not what was sent.
        """
        self.meter.begin("waiting", self.source.size_bytes)
        await follow(
            self.place,
            wait if self._is_sure or wait != "none" else "verified",
            self._again,
            pause=self._pause,
            sent_at=lambda: self.sent_at,
            timeout=timeout,
        )
        self.proved = self._proof.verdict()

    async def _put(self) -> None:
        self._transfer = PutTransfer(
            place=self.place,
            proof=self._proof,
            source=self.source,
            sender=self.sender,
            retry=self.retry,
            meter=self.meter,
        )
        await self._ended(await self._transfer.run())

    async def _send_pieces(self) -> None:
        self._transfer = ResumableTransfer(
            place=self.place,
            proof=self._proof,
            source=self.source,
            sender=self.sender,
            retry=self.retry,
            meter=self.meter,
            is_fresh=self.is_fresh,
        )
        if (answer := await self._transfer.run()) is not None:
            await self._ended(answer)

    async def _ended(self, answer: Answer) -> None:
        self._is_sure = 200 <= answer.status < 300
        self.meter.begin("waiting", self.source.size_bytes)
        self._pause = await self.place.complete()

    async def _send_parts(
        self, cut: MultipartUpload | PartsStatus, left: Sequence[int], first: Sequence[PartRequest] = ()
    ) -> None:
        size = self.source.size_bytes
        self._proof.part_count = cut.part_count
        self._transfer = PartsTransfer(
            place=self.place,
            proof=self._proof,
            cut=Cut(size_bytes=size, part_size_bytes=cut.part_size_bytes, part_count=cut.part_count),
            source=self.source,
            sender=self.sender,
            retry=self.retry,
            meter=self.meter,
            jobs=self.jobs,
        )
        self._pause = await self._transfer.run(left, first)

    async def _again(self) -> timedelta | None:
        """Parts that are not put together are asked for once more, and sent if it turns out that they are missing."""
        if isinstance(self._transfer, PartsTransfer) and self.place.is_pending:
            return await self._transfer.run()
        if self._has_asked:  # and too recently for the broker to have looked once more when the bytes were sent
            self._has_asked = False
            return await self.place.complete()
        await self.place.look()
        return None

    def _tell(self, seconds: float) -> None:
        if self.attempts:
            self.place.voice.tell(
                events.Sent(
                    file=self.place.voice.file,
                    session_id=self.place.session.id,
                    size_bytes=self.sent_bytes,
                    seconds=round(seconds, 3),
                    attempts=self.attempts,
                    parts=self._transfer.sent_parts if isinstance(self._transfer, PartsTransfer) else 0,
                    destination=self.place.destination,
                )
            )
