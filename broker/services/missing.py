"""Missing: somebody doubts that what was verified is still there. HEAD of the pinned version decides.

The bucket said so (a removal that we did not ask for, a lifecycle rule), or a consumer could not read it. Neither is
believed: only a HEAD that finds nothing, or another object without a version of ours, changes anything. Of a fan-out
the copy has failed, is not read any more and can be minted again; it has lost its object with its last verified copy.
"""

import logging
from dataclasses import dataclass

from broker.domain.copies import Copy
from broker.domain.fan_out import readable
from broker.domain.objects import pin_of
from broker.domain.sessions import Session, missing
from broker.ports import Bucket, Buckets, Clock, DueLook, Looks, Sessions
from broker.services.settle import Settle

_log = logging.getLogger("broker.look")


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Compare-and-set: of a consumer who leases the job at this moment and this look, one is too late."""

    buckets: Buckets
    sessions: Sessions
    looks: Looks
    settle: Settle
    clock: Clock

    async def __call__(self, due: DueLook, session: Session, bucket: Bucket) -> Session:
        """The session as it stands afterwards.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable: nobody knows; never taken for an answer.
        """
        gone = await gone_from(session, self.buckets)
        for copy in gone if session.facts.copies else ():
            await self.looks.doubt(copy.id, copy.destination, now=self.clock.now())
        is_lost = len(gone) == len(readable(session))
        change = missing(session, bucket.destination, self.clock.now()) if is_lost else None
        if change is None:
            await self.looks.postpone(due, None)
            return session
        if session.facts.copy_of:  # before it is written: whoever dies in between has told too much, not too little
            await self.looks.doubt(session.facts.copy_of, None, now=self.clock.now())
        if not await self.settle(change, bucket.destination):  # the claim runs out, and the look comes back
            return await self.sessions.get(session.id) or session
        await self.looks.postpone(due, None)
        _log.warning("object.missing", extra={"session_id": session.id, "state": change.after.state.value})
        return change.after


async def gone_from(session: Session, buckets: Buckets) -> list[Copy]:
    """Of the places where what was verified can be read, those where it is not any more. What is not configured here
    cannot be asked, and is not among them.

    :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
    """
    asked = [(copy, bucket) for copy in readable(session) if (bucket := buckets.get(copy.destination))]
    return [copy for copy, bucket in asked if not await _is_there(copy, bucket)]


async def _is_there(copy: Copy, bucket: Bucket) -> bool:
    """Whether the store has exactly what was verified. A delete marker over its version changes nothing."""
    if copy.stored is None:
        return False
    if copy.stored.version is None:
        info = await bucket.objects.head(copy.key)
    else:
        info = await bucket.objects.head_version(copy.key, copy.stored.version)
    return info is not None and pin_of(info) == pin_of(copy.stored)
