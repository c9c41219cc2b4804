"""An upload through one URL, its bytes in order and a piece at a time, until the store has all of them.

After whatever goes wrong – an error, a reset, silence, an answer that makes no sense – the store is asked first how
much it has (Google Cloud Storage, "Perform resumable uploads", "Check the status of a resumable upload"): it goes on
behind that, and what was committed although nobody heard it is not sent again. Where the store knows the upload no
more, the broker opens another one; its bytes begin anew.
"""

import asyncio
import time
from dataclasses import dataclass, field, replace

import msgspec

from broker.contract import ResumableUpload, SignedRequest
from uploader.errors import StoreRefused, Unreachable
from uploader.events import Meter
from uploader.orders import LOST
from uploader.place import Place
from uploader.proof import Proof
from uploader.reception import Heard, heard
from uploader.retry import RetryPolicy
from uploader.sender import MAX_REFUSALS, Answer, Sender
from uploader.source import MemorySource, Slice, Source

CHUNK_BYTES = 16 << 20  # ours: what one broken connection may cost where a store keeps nothing of it
MAX_CHUNKS = 256  # ours: a larger file goes in larger pieces, or it would wait for one answer after the other
MAX_LOST = 3  # ours: a store that loses an upload so often will not keep the next one either


class Settled(Exception):
    """The session is not pending any more: there is nothing left to send, and its state says why."""


@dataclass(slots=True, kw_only=True)
class ResumableTransfer:
    """One object's bytes. A piece is streamed from the file, so memory knows no size.

    :ivar is_fresh: nobody has sent any of it yet.
    :ivar attempts: PUTs of pieces so far.
    :ivar sent_bytes: what the store has taken from us.
    :ivar sent_at: when it had, on the monotonic clock.
    """

    place: Place
    proof: Proof
    source: Source
    sender: Sender
    retry: RetryPolicy
    meter: Meter
    is_fresh: bool
    attempts: int = field(init=False, default=0)
    sent_bytes: int = field(init=False, default=0)
    sent_at: float = field(init=False, default_factory=time.monotonic)
    _watched: Source = field(init=False)
    _kept_bytes: int = field(init=False, default=0)
    _most_kept_bytes: int = field(init=False, default=0)
    _failures: int = field(init=False, default=0)
    _refusals: int = field(init=False, default=0)
    _losses: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._watched = self.proof.watched(self.source)

    async def run(self) -> Answer | None:
        """The store's last word, or None: the session was settled meanwhile.

        :raises UploaderError: the store refuses or does not answer, or the file changed.
        """
        try:
            answer = await self._send_all()
        except Settled:
            answer = None
            if self.place.standing.state not in LOST:
                self._count(self.source.size_bytes)
        self.sent_at = time.monotonic()
        return answer

    async def _send_all(self) -> Answer:
        self.meter.begin("sending")
        if not self.is_fresh:
            answer, kept = await self._clear(await self._ask())
            if kept is None:
                return self.proof.heard(answer)
            self._kept_bytes = self.meter.done_bytes = kept
        while True:
            # What is on its way stays counted until the store has said how much of it came.
            with self.meter.ahead() as ahead:
                answer, kept = await self._clear(await self._send(ahead))
                self._count(self.source.size_bytes if kept is None else kept)
            if kept is None:
                return self.proof.heard(answer)

    def _count(self, kept_bytes: int) -> None:
        self.sent_bytes += max(0, kept_bytes - self._kept_bytes)
        self._kept_bytes = self.meter.done_bytes = kept_bytes

    async def _send(self, ahead: Meter) -> Answer:
        """One piece. An object without bytes ends with the question how many are there."""
        size, begin = self.source.size_bytes, self._kept_bytes
        end = min(size, begin + self._chunk_bytes())
        self.attempts += 1
        if not size:
            self.source.check()
            return await self._ask()
        piece = Slice(whole=self._watched, begin_bytes=begin, size_bytes=end - begin)
        sender = self.sender if end == size else self._asking
        answer = await sender.send(self._request(f"bytes {begin}-{end - 1}/{size}"), piece, ahead)
        return self._doubted(answer, begin, end)

    def _doubted(self, answer: Answer, begin: int, end: int) -> Answer:
        """An answer that cannot be one to this piece counts as none."""
        said = heard(answer, self.source.size_bytes)
        if said is Heard.ENDED and end < self.source.size_bytes:
            return msgspec.structs.replace(answer, status=0, code="an answer to something else", message="")
        if isinstance(said, int) and said <= begin:
            return msgspec.structs.replace(answer, status=0, code="the store kept nothing of it", message="")
        return answer

    async def _ask(self) -> Answer:
        """How much is there. Where all of it is, the object is made."""
        nothing = MemorySource(name=self.source.name, data=b"")
        return await self._asking.send(self._request(f"bytes */{self.source.size_bytes}"), nothing, Meter("", 0))

    async def _clear(self, answer: Answer) -> tuple[Answer, int | None]:
        """Ask until the store says something: how much it has, or None when it ended."""
        refused: Answer | None = None
        silences = 0
        while True:
            said = heard(answer, self.source.size_bytes)
            match said:
                case int():
                    self._note(said)
                    return answer, said
                case Heard.ENDED:
                    return answer, None
                case Heard.UNCLEAR:
                    silences += 1
                    await self._pause(answer, silences)
                case Heard.GONE if refused is None:
                    await self._reopen(answer)
                case Heard.REFUSED if refused is None and answer.status in {401, 403}:
                    self._refuse(answer)
                    await self._renew(f"the store says {answer}")
                case Heard.REFUSED if refused is None:
                    refused = self._refuse(answer)
                case _:
                    raise _refusal(refused or answer)
            answer = await self._ask()

    def _note(self, kept_bytes: int) -> None:
        """Patience begins anew with each byte that the store never had before."""
        if kept_bytes > self._most_kept_bytes:
            self._most_kept_bytes = kept_bytes
            self._failures = self._refusals = 0

    async def _pause(self, answer: Answer, silences: int) -> None:
        """Pieces that fail are counted apart from questions: a store that answers one of these is not away."""
        self._failures += silences == 1
        attempts = max(self._failures, silences)
        if self.retry.is_last(attempts):
            raise Unreachable(f"the store does not go on after {attempts} attempts; last: {answer}")
        delay = self.retry.delay(attempts, answer.retry_after)
        self.place.voice.retrying("send", str(answer), delay, attempts)
        await asyncio.sleep(delay.total_seconds())

    def _refuse(self, answer: Answer) -> Answer:
        self._refusals += 1
        if self._refusals > MAX_REFUSALS:
            raise _refusal(answer)
        return answer

    async def _reopen(self, answer: Answer) -> None:
        self._losses += 1
        if self._losses > MAX_LOST:
            raise Unreachable(f"the store has lost the upload {self._losses} times; last: {answer}")
        await self._renew(f"the store does not know the upload any more: {answer}")
        self._most_kept_bytes = 0

    async def _renew(self, why: str) -> None:
        """Where the upload is gone because all of it is there, the broker has us ask until it has looked."""
        self.place.voice.reminted(why)
        await self.place.renew()
        if not self.place.is_pending:
            raise Settled

    @property
    def _asking(self) -> Sender:
        """For answers that cost the store nothing. Only the last piece is waited for longer: it makes the object."""
        return replace(self.sender, answer_timeout=min(self.sender.answer_timeout, self.sender.stall))

    def _upload(self) -> ResumableUpload:
        """:raises Unreachable: the broker gives something else."""
        upload = self.place.standing.upload
        if not isinstance(upload, ResumableUpload) or upload.chunk_multiple_bytes < 1:
            raise Unreachable("the broker gives no request to go on with")
        return upload

    def _request(self, content_range: str) -> SignedRequest:
        request = self._upload().request
        return msgspec.structs.replace(request, headers=request.headers | {"Content-Range": content_range})

    def _chunk_bytes(self) -> int:
        multiple = self._upload().chunk_multiple_bytes
        wanted = max(CHUNK_BYTES, -(-self.source.size_bytes // MAX_CHUNKS))
        return -(-wanted // multiple) * multiple


def _refusal(answer: Answer) -> StoreRefused:
    return StoreRefused(f"the store refuses the upload: {answer}")
