"""Complete: the client says that it is done. A hint like any other, taken up at once."""

from dataclasses import dataclass
from datetime import timedelta

from broker.domain.sessions import LOOKED_AT, Session
from broker.ports import Clock, Looking, Looks, Sessions

ONE_LOOK_EVERY = timedelta(seconds=1)
HOLD = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    sessions: Sessions
    looks: Looks
    look: Looking
    clock: Clock

    async def __call__(self, session: Session) -> Session:
        """One look per second and session, however often a client calls. The session as it stands afterwards."""
        if session.state not in LOOKED_AT:
            return session
        due = await self.looks.claim_one(session.id, now=self.clock.now(), hold=HOLD, every=ONE_LOOK_EVERY)
        if due is None:
            return await self.sessions.get(session.id) or session
        return await self.look(due) or session
