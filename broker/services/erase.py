"""Erase: the owner of a settled object wants it gone, whoever may be working on it."""

import logging
from dataclasses import dataclass

from broker.domain.capsule import CapsuleSealer
from broker.domain.errors import (
    CredentialsUnavailable,
    SessionNotFound,
    SessionSettled,
    StoreRefused,
    StoreUnavailable,
    UnknownDestination,
)
from broker.domain.objects import CAPSULE_FIELD, ObjectInfo, pin_of
from broker.domain.sessions import Session, erase, erased
from broker.ports import Bucket, Buckets, Clock, Sessions

_log = logging.getLogger("broker.erase")
_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Erase:
    """First the ledger knows, then the bytes go: from then on nobody is given a read, and a look repeats the removal
    until it is done, whoever dies meanwhile."""

    buckets: Buckets
    sessions: Sessions
    sealer: CapsuleSealer
    clock: Clock

    async def __call__(self, session: Session) -> Session:
        """Idempotent. The session afterwards: `is_removed` says whether the bytes are gone already.

        :raises SessionNotVerified: it is pending.
        :raises SessionSettled: there is no object of its own.
        """
        bucket = self.buckets.get(session.facts.destination)
        if bucket is None:
            raise UnknownDestination("the destination of this session is no longer configured")
        session = await self._recorded(session, bucket)
        if session.facts.is_removed:
            return session
        try:
            return await self._removed(session, bucket)
        except (StoreUnavailable, StoreRefused, CredentialsUnavailable) as trouble:
            _log.warning("erase.postponed", extra={"session_id": session.id, "code": trouble.code})
            return session

    async def _recorded(self, session: Session, bucket: Bucket) -> Session:
        for _ in range(_TRIES):
            if session.facts.erased_at is not None:
                return session
            change = erase(session, bucket.destination, self.clock.now())
            if await self.sessions.apply(change):
                _log.info("object.erasing", extra={"session_id": session.id, "state": change.after.state.value})
                return change.after
            current = await self.sessions.get(session.id)
            if current is None:
                raise SessionNotFound
            session = current
        raise SessionSettled

    async def _removed(self, session: Session, bucket: Bucket) -> Session:
        if not await wipe(session, bucket, self.sealer):
            return session
        change = erased(session, bucket.destination, self.clock.now())
        if await self.sessions.apply(change):
            return change.after
        return await self.sessions.get(session.id) or session


async def wipe(session: Session, bucket: Bucket, sealer: CapsuleSealer) -> bool:
    """Removes what was judged, and what its own signed request has put there since. True: nothing of it is left.

    :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
    """
    facts = session.facts
    if facts.stored is not None:
        await bucket.remover.remove(facts.key, pin_of(facts.stored))  # False: it is not there any more
    info = await bucket.objects.head(facts.key)
    if info is None or not is_ours(sealer, session, info):
        return True
    return await bucket.remover.remove(facts.key, pin_of(info))


def is_ours(sealer: CapsuleSealer, session: Session, info: ObjectInfo) -> bool:
    """Whether an object came by this session's signed request."""
    facts = session.facts
    capsule = sealer.open(info.metadata.get(CAPSULE_FIELD, ""), bucket=facts.bucket, key=facts.key)
    return capsule is not None and capsule.id == session.id
