"""Abort: its owner gives a pending session up."""

from dataclasses import dataclass

from broker.contract import State
from broker.domain.errors import CompletionInProgress, SessionNotFound, SessionSettled
from broker.domain.sessions import Session, abort, is_completing
from broker.ports import Buckets, Clock, Sessions

_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    buckets: Buckets
    sessions: Sessions
    clock: Clock

    async def __call__(self, session: Session) -> Session:
        """Idempotent: aborting an aborted session changes nothing.

        :raises CompletionInProgress: its parts are being put together.
        :raises SessionSettled: it was verified, rejected or expired first.
        """
        for _ in range(_TRIES):
            if session.state is State.ABORTED:
                return session
            bucket = self.buckets.get(session.facts.destination)
            if bucket is None:
                raise SessionSettled
            now = self.clock.now()
            if is_completing(session, now):
                raise CompletionInProgress
            change = abort(session, bucket.destination, now)
            if await self.sessions.apply(change):
                return change.after
            current = await self.sessions.get(session.id)
            if current is None:
                raise SessionNotFound
            session = current
        raise SessionSettled
