"""Where one object of a session stands at the broker: the session's only one, or the copy at one of its destinations.

Those who send ask here and need not know which of the two it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from broker.contract import Copy, ObjectRef, PartRequest, Reason, State, UploadSession
from uploader.client import BrokerClient
from uploader.errors import BrokerRefused, Unreachable
from uploader.voice import Voice

Standing = UploadSession | Copy


@dataclass(slots=True, kw_only=True)
class Place:
    """:ivar session: as the broker has described it last."""

    broker: BrokerClient
    voice: Voice
    session: UploadSession
    destination: str | None = None

    @property
    def standing(self) -> Standing:
        """State, requests and parts of this object alone.

        :raises Unreachable: the broker does not speak of it.
        """
        if self.destination is None:
            return self.session
        for copy in self.session.copies or []:
            if copy.destination == self.destination:
                return copy
        raise Unreachable(f"the broker's answer does not speak of the copy at {self.destination}")

    @property
    def reason(self) -> Reason | None:
        """Why it came to a bad end, or has no requests."""
        standing = self.standing
        return (standing.problem if isinstance(standing, Copy) else standing.reason) or None

    @property
    def is_pending(self) -> bool:
        return self.standing.state is State.PENDING

    async def look(self) -> None:
        self.session = await self.broker.get(self.session.id, self.voice.retrying)

    async def remint(self) -> None:
        """Fresh requests, in `standing.upload`."""
        self.session = await self.broker.remint(self.session.id, self.voice.retrying, self.destination)

    async def renew(self) -> None:
        """Fresh requests; or, where the session was settled before anybody could ask, what became of it."""
        try:
            await self.remint()
        except BrokerRefused as exc:
            if exc.problem.code != "session-settled":
                raise
            await self.look()

    async def parts(self, numbers: Sequence[int]) -> list[PartRequest]:
        """Fresh requests for these parts, in the order asked for."""
        return await self.broker.parts(self.session.id, numbers, self.voice.retrying, self.destination)

    async def complete(self) -> timedelta | None:
        """Say that the bytes may be there. Returns when to ask again."""
        self.session, pause = await self.broker.complete(self.session.id, self.voice.retrying, self.destination)
        return pause


def objects_of(session: UploadSession) -> list[ObjectRef]:
    """What comes of it: one object, or that of each copy."""
    return [session.object] if session.object else [copy.object for copy in session.copies or []]
