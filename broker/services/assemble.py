"""Assemble: the broker alone puts parts together, and clears away what never became an object."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.domain.errors import Unavailable
from broker.domain.multipart import is_exact
from broker.domain.sessions import Session, completing, is_completing, opened
from broker.ports import Bucket, Clock, Sessions

_log = logging.getLogger("broker.multipart")

AGAIN = timedelta(seconds=1)  # for HEAD to tell what came of it
COMPLETING_FOR = timedelta(minutes=5)  # S3 CompleteMultipartUpload: "can take several minutes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assemble:
    sessions: Sessions
    clock: Clock

    async def __call__(self, session: Session, bucket: Bucket, now: datetime) -> bool:
        """Completes a pending upload if exactly parts 1 to N are there at their minted sizes.

        True when HEAD is worth asking again: it was completed, or is gone because somebody else did. One holder at
        a time; a crash in between is found by the look that `completing` schedules.
        """
        multipart, rights = session.facts.multipart, bucket.multipart
        if not (multipart and multipart.upload_id and rights) or is_completing(session, now):
            return False
        key, size = session.facts.key, session.facts.spec.size_bytes
        stored = await rights.uploads.parts(key, multipart.upload_id)
        if stored is None:
            return await self._vanished(session, bucket, now)
        if not is_exact(multipart, size, stored):
            return False
        held = completing(session, now + COMPLETING_FOR)
        if not await self.sessions.apply(held):
            return False
        try:
            is_completed = await rights.uploads.complete(key, multipart.upload_id, stored)
        except Unavailable as trouble:
            await self._give_back(held.after, trouble.retry_after)
            raise
        await self._give_back(held.after, AGAIN)
        extra = {"session_id": session.id, "parts": multipart.part_count, "is_completed": is_completed}
        _log.info("multipart.completed", extra=extra)
        return True

    async def _give_back(self, session: Session, wait: timedelta) -> None:
        """Nobody else knows that this try is over. Another is harmless, even if the store goes on with the first."""
        await self.sessions.apply(completing(session, self.clock.now() + wait))

    async def clear(self, session: Session, bucket: Bucket) -> bool:
        """Aborts whatever is unfinished under the session's key, recorded or not. True once nothing is left."""
        if session.facts.multipart is None or bucket.multipart is None:
            return True
        key, remover = session.facts.key, bucket.multipart.remover
        aborted = [await remover.abort(key, upload_id) for upload_id in await remover.open_uploads(key)]
        if aborted:
            _log.info("multipart.cleared", extra={"session_id": session.id, "uploads": len(aborted)})
        return all(aborted)

    async def _vanished(self, session: Session, bucket: Bucket, now: datetime) -> bool:
        """No such upload: it was completed unheard, or a lifecycle rule took it. Then the next mint begins another."""
        if await bucket.objects.head(session.facts.key) is not None:
            return True
        await self.sessions.apply(opened(session, "", now + bucket.destination.policy.first_look))
        _log.warning("multipart.vanished", extra={"session_id": session.id})
        return False
