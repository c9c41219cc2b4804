"""Revive: an operator gives a failed job another chance, if what it is about is still there."""

import logging
from dataclasses import dataclass

from broker.domain.errors import ObjectGone, SessionNotFound, SessionSettled, UnknownDestination
from broker.domain.fan_out import readable
from broker.domain.jobs import revive
from broker.domain.sessions import Change, Session
from broker.ports import Buckets, Clock, Sessions
from broker.services.missing import gone_from

_log = logging.getLogger("broker.jobs")
_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Revive:
    buckets: Buckets
    sessions: Sessions
    clock: Clock

    async def __call__(self, session_id: str) -> Session:
        """The job is visible to consumers again.

        :raises SessionNotFound:
        :raises SessionSettled: it has not failed.
        :raises ObjectErased, ObjectGone: there is nothing to process; it would fail again.
        :raises UnknownDestination: nobody here can look.
        :raises Unavailable: ledger or store.
        """
        for _ in range(_TRIES):
            change = await self.check(session_id)
            if await self.sessions.apply(change):
                _log.info("job.revived", extra={"session_id": session_id})
                return change.after
        raise SessionSettled

    async def check(self, session_id: str) -> Change:
        """What would be done; nothing is. Raises as a call does."""
        session = await self.sessions.get(session_id)
        if session is None or session.facts.copy_of:
            raise SessionNotFound
        change = revive(session, self.clock.now())
        if session.facts.destination not in self.buckets:
            raise UnknownDestination("its destination is no longer configured")
        if len(await gone_from(session, self.buckets)) == len(readable(session)):
            raise ObjectGone
        return change
