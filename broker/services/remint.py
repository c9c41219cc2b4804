"""Remint: fresh signed requests for a pending session, until its deadline."""

from dataclasses import dataclass

from broker.contract import SignedRequest
from broker.domain.capsule import CapsuleSealer, capsule_of
from broker.domain.errors import SessionNotFound, SessionSettled
from broker.domain.sessions import Session, remint
from broker.ports import Buckets, Clock, Sessions

_TRIES = 5  # a lost race means that somebody else moved the session on; more than a few in a row do not happen


@dataclass(frozen=True, slots=True, kw_only=True)
class Remint:
    buckets: Buckets
    sessions: Sessions
    sealer: CapsuleSealer
    clock: Clock

    async def __call__(self, session: Session) -> tuple[Session, SignedRequest]:
        """Recorded before it is handed out, so that the session outlives every request that is alive.

        :raises SessionSettled: it is not pending, or its deadline is over.
        """
        for _ in range(_TRIES):
            now = self.clock.now()
            facts = session.facts
            bucket = self.buckets.get(facts.destination)
            if bucket is None or now >= facts.expires_at:
                raise SessionSettled
            policy = bucket.destination.policy
            ends = min(now + policy.url_ttl, facts.expires_at)
            change = remint(session, requests_end_at=ends, look_at=now + policy.first_look)
            capsule = self.sealer.seal(capsule_of(session.id, facts), bucket=facts.bucket, key=facts.key)
            request = await bucket.put.sign_put(facts.key, facts.spec, capsule, now=now, ends=ends)
            if await self.sessions.apply(change):
                return change.after, request
            session = await _again(self.sessions, session.id)
        raise SessionSettled


async def _again(sessions: Sessions, session_id: str) -> Session:
    session = await sessions.get(session_id)
    if session is None:
        raise SessionNotFound
    return session
