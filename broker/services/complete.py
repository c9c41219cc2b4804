"""Complete: the client says that it is done. A hint like any other, taken up at once."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from broker.contract import State
from broker.domain.sessions import LOOKED_AT, Session
from broker.ports import Clock, Looking, Looks, Sessions

ONE_LOOK_EVERY = timedelta(seconds=1)
HOLD = timedelta(seconds=30)
MAY_COME = frozenset({State.PENDING, State.EXPIRED})  # copies whose bytes are still waited for


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    sessions: Sessions
    looks: Looks
    look: Looking
    clock: Clock

    async def __call__(self, session: Session, destination: str | None = None) -> Session:
        """One look per second and session, however often a client calls. The session as it stands afterwards.

        :param destination: of a fan-out, which copy it is about; None: all that may still come.
        """
        if session.facts.copies:
            return await self._copies(session, destination)
        if session.state not in LOOKED_AT:
            return session
        due = await self.looks.claim_one(session.id, now=self.clock.now(), hold=HOLD, every=ONE_LOOK_EVERY)
        if due is None:
            return await self.sessions.get(session.id) or session
        return (await self.look(due)).session or session

    async def _copies(self, session: Session, destination: str | None) -> Session:
        waiting = [copy.id for copy in session.facts.copies if destination in {None, copy.destination}]
        copies = await self.sessions.get_many([copy_id for copy_id in waiting if copy_id])
        may_come = [copy for copy in copies if copy is not None and copy.state in MAY_COME]
        await asyncio.gather(*(self(copy) for copy in may_come))
        return await self.sessions.get(session.id) or session
