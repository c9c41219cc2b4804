"""Erase: the owner of a settled object wants it gone, whoever may be working on it."""

import logging
from dataclasses import dataclass

from broker.domain.capsule import CapsuleSealer
from broker.domain.copies import Copy
from broker.domain.errors import (
    CredentialsUnavailable,
    ObjectErased,
    SessionSettled,
    StoreRefused,
    StoreUnavailable,
    UnknownDestination,
)
from broker.domain.fan_out import erase_all, erase_copy, is_stored, note_of
from broker.domain.objects import CAPSULE_FIELD, ObjectInfo, pin_of
from broker.domain.sessions import Session, erase, erased
from broker.ports import Bucket, Buckets, Clock, Sessions
from broker.services.again import read_again
from broker.services.end_copies import EndCopies

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
    end_copies: EndCopies

    async def __call__(self, session: Session) -> Session:
        """Idempotent. The session afterwards: `is_removed` says whether the bytes are gone already.

        :raises SessionNotVerified: it is pending.
        :raises SessionSettled: there is no object of its own.
        """
        bucket = self.buckets.get(session.facts.destination)
        if bucket is None:
            raise UnknownDestination("the destination of this session is no longer configured")
        session = await (self._recorded_copies(session) if session.facts.copies else self._recorded(session, bucket))
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
            session = await read_again(self.sessions, session.id)
        raise SessionSettled

    async def _recorded_copies(self, session: Session) -> Session:
        try:
            session = await self.end_copies(session, of_copy=erase_copy, of_all=erase_all)
        except ObjectErased:
            return await self.sessions.get(session.id) or session
        _log.info("object.erasing", extra={"session_id": session.id, "state": session.state.value})
        return session

    async def _removed(self, session: Session, bucket: Bucket) -> Session:
        copies = session.facts.copies or (note_of(session),)
        for copy in [copy for copy in copies if is_stored(copy)]:
            at = self.buckets.get(copy.destination)
            if at is None or not await wipe(copy, at, self.sealer):
                return session
        change = erased(session, bucket.destination, self.clock.now())
        if await self.sessions.apply(change):
            return change.after
        return await self.sessions.get(session.id) or session


async def wipe(copy: Copy, bucket: Bucket, sealer: CapsuleSealer) -> bool:
    """Removes what was judged, and what its own signed request has put there since. True: nothing of it is left.

    :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
    """
    if copy.stored is not None:
        await bucket.remover.remove(copy.key, pin_of(copy.stored))  # False: it is not there any more
    info = await bucket.objects.head(copy.key)
    if info is None or not is_ours(sealer, copy, info):
        return True
    return await bucket.remover.remove(copy.key, pin_of(info))


def is_ours(sealer: CapsuleSealer, copy: Copy, info: ObjectInfo) -> bool:
    """Whether an object came by the signed request of this copy's session."""
    capsule = sealer.open(info.metadata.get(CAPSULE_FIELD, ""), bucket=copy.bucket, key=copy.key)
    return capsule is not None and capsule.id == copy.id
