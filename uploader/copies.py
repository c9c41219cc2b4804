"""A fan-out: the same bytes to every copy of a session at the same time, and none waits for another.

The file is read once, through a `Window`. A copy that the store refuses, or that comes to nothing at the broker, is
minted again alone; one that fails all the same takes nothing from the others. Whether enough of them are there is the
session's state, and the broker's to say.
"""

import time
from dataclasses import dataclass, field
from datetime import timedelta

from broker.contract import Copy, State, UploadSession
from uploader.delivery import Delivery
from uploader.errors import CopiesMissing, FileChanged, FileUnusable, SessionLost, UploaderError
from uploader.events import Meter
from uploader.follow import follow
from uploader.means import Means
from uploader.orders import ENOUGH, LOST, CopyResult, Order, Outcome
from uploader.place import Place
from uploader.retry import RetryPolicy
from uploader.sender import Sender
from uploader.source import Source
from uploader.together import together
from uploader.voice import Voice
from uploader.window import Window


@dataclass(slots=True, kw_only=True)
class CopyUpload:
    """One copy. Its delivery is tried twice: a session of its own that came to nothing is replaced once.

    :ivar is_fresh: nobody has sent any of it yet.
    """

    place: Place
    order: Order
    source: Source
    sender: Sender
    retry: RetryPolicy
    meter: Meter
    is_fresh: bool
    attempts: int = field(init=False, default=0)
    sent_bytes: int = field(init=False, default=0)
    sent_at: float = field(init=False, default_factory=time.monotonic)
    proved: str | None = field(init=False, default=None)

    async def run(self) -> CopyResult:
        """What became of it; that it failed is a result, too.

        :raises FileChanged: which concerns all copies; so does `FileUnusable`.
        """
        try:
            await self._bring()
        except (FileChanged, FileUnusable):
            raise
        except UploaderError as exc:
            return self._result(exc)
        return self._result(None)

    async def _bring(self) -> None:
        await self._renew()
        delivery = self._delivery()
        try:
            await self._deliver(delivery)
        except SessionLost:
            await self._renew()
            await self._deliver(self._delivery())

    async def _renew(self) -> None:
        """Mint it again if it came to nothing."""
        standing = self.place.standing
        if standing.state in LOST:
            why = self.place.reason.message if self.place.reason else standing.state.value
            self.place.voice.reminted(f"the copy came to nothing: {why}")
            await self.place.remint()
            self.is_fresh = True

    def _delivery(self) -> Delivery:
        return Delivery(
            place=self.place,
            source=self.source,
            sender=self.sender,
            retry=self.retry,
            meter=self.meter,
            jobs=self.order.jobs,
            is_fresh=self.is_fresh,
            is_proof_sought=self.order.is_proof_sought,
        )

    async def _deliver(self, delivery: Delivery) -> None:
        self.meter.state = "sending"
        try:
            await delivery.send()
            await delivery.settle("none" if self.order.wait == "none" else "verified", self.order.timeout)
        finally:
            self.attempts += delivery.attempts
            self.sent_bytes += delivery.sent_bytes
            self.sent_at = delivery.sent_at
            self.proved = delivery.proved

    def _result(self, error: UploaderError | None) -> CopyResult:
        standing = self.place.standing
        self.meter.state = "missing" if error else standing.state.value
        return CopyResult(
            destination=self.meter.label,
            bucket=standing.object.bucket if standing.object else "",
            key=standing.object.key if standing.object else "",
            state=standing.state,
            attempts=self.attempts,
            sent_bytes=self.sent_bytes,
            error=error,
            proved=None if error else self.proved,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOut:
    """All copies of one session.

    :ivar is_fresh: nobody has sent anything of it yet.
    """

    session: UploadSession
    order: Order
    means: Means
    meter: Meter
    voice: Voice
    is_fresh: bool

    async def run(self) -> Outcome:
        """:raises CopiesMissing: too few are there for the session to be verified.
        :raises UploaderError: the file changed, or the session itself came to a bad end.
        """
        copies = list(self.session.copies or [])
        source = self._shared(copies)
        meters = self.meter.split([copy.destination for copy in copies])
        uploads = [self._upload(copy, source, meters[copy.destination]) for copy in copies]
        try:
            results = await together([upload.run() for upload in uploads])
        finally:
            if source is not self.order.source:
                source.close()
        return await self._outcome(tuple(results), max(upload.sent_at for upload in uploads))

    def _shared(self, copies: list[Copy]) -> Source:
        """The file, as all who still need it read it. What is in memory already is shared as it is."""
        readers = sum(copy.state is not State.VERIFIED for copy in copies)
        if readers < 2 or self.order.source.fileno is None:
            return self.order.source
        return Window(self.order.source, readers, self.means.budget)

    def _upload(self, copy: Copy, source: Source, meter: Meter) -> CopyUpload:
        return CopyUpload(
            place=Place(
                broker=self.means.broker,
                voice=self.voice.of(copy.destination),
                session=self.session,
                destination=copy.destination,
            ),
            order=self.order,
            source=source,
            sender=self.means.sender_to(copy.destination),
            retry=self.means.retry,
            meter=meter,
            is_fresh=self.is_fresh,
        )

    async def _outcome(self, copies: tuple[CopyResult, ...], sent_at: float) -> Outcome:
        place = Place(broker=self.means.broker, voice=self.voice, session=self.session)
        self.meter.begin("waiting")

        async def ask() -> timedelta | None:
            await place.look()
            return None

        await ask()
        missing = {copy.destination: copy.error for copy in copies if copy.error}
        if missing and place.standing.state not in ENOUGH:
            if place.standing.state in {State.ABORTED, State.REJECTED}:
                raise SessionLost(place.standing.state, place.reason, session_id=self.session.id)
            raise CopiesMissing(missing, len(copies), session_id=self.session.id)
        await follow(place, self.order.wait, ask, pause=None, sent_at=lambda: sent_at, timeout=self.order.timeout)
        return Outcome(
            session=place.session,
            attempts=sum(copy.attempts for copy in copies),
            sent_bytes=sum(copy.sent_bytes for copy in copies),
            sent_at=sent_at,
            proved=_proved(copies),
            copies=copies,
        )


def _proved(copies: tuple[CopyResult, ...]) -> str | None:
    """What proves all that are there."""
    proofs = {copy.proved for copy in copies if not copy.error}
    return proofs.pop() if len(proofs) == 1 else None
