"""Abort: its owner gives a pending session up."""

from dataclasses import dataclass

from broker.contract import State
from broker.domain.errors import CompletionInProgress, SessionSettled
from broker.domain.fan_out import abort_all, give_up
from broker.domain.sessions import Session, abort, is_completing
from broker.ports import Buckets, Clock, Sessions
from broker.services.again import read_again
from broker.services.end_copies import EndCopies

_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    buckets: Buckets
    sessions: Sessions
    clock: Clock
    end_copies: EndCopies

    async def __call__(self, session: Session) -> Session:
        """Idempotent: aborting an aborted session changes nothing.

        :raises CompletionInProgress: its parts are being put together.
        :raises SessionSettled: it was verified, rejected or expired first.
        """
        for _ in range(_TRIES):
            if session.state is State.ABORTED:
                return session
            if session.facts.copies:
                return await self._copies(session)
            bucket = self.buckets.get(session.facts.destination)
            if bucket is None:
                raise SessionSettled
            now = self.clock.now()
            if is_completing(session, now):
                raise CompletionInProgress
            change = abort(session, bucket.destination, now)
            if await self.sessions.apply(change):
                return change.after
            session = await read_again(self.sessions, session.id)
        raise SessionSettled

    async def _copies(self, session: Session) -> Session:
        try:
            return await self.end_copies(session, of_copy=give_up, of_all=abort_all)
        except SessionSettled:
            found = await self.sessions.get(session.id)
            if found is not None and found.state is State.ABORTED:
                return found  # by another call
            raise
