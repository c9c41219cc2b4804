"""Broom: what a sweep may do to one thing at a time. Each act asks the ledger and the store again, and names a version.

Any number of brooms, lookers and brokers may meet on one object: every removal is conditional, every record is changed
by compare-and-set, and a death in between leaves what the next sweep finds again.
"""

import logging
from dataclasses import dataclass
from typing import Literal

from broker.contract import State
from broker.domain.objects import judge, pin_of
from broker.domain.tombstones import permits_removal
from broker.ports import Bucket, Clock, DueLook, ListedObject, Looking, UnfinishedUpload
from broker.services.adopt import Adopt
from broker.services.adopt import Outcome as Adopted
from broker.services.findings import Find, Finding, is_of

_log = logging.getLogger("broker.sweep")

Removal = Literal["removed", "not-ours", "left"]

UNCLAIMED = -1  # no schedule says so: such a look neither postpones nor drops what the schedule holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Broom:
    find: Find
    look: Looking
    adopt: Adopt
    clock: Clock

    async def take_in(self, bucket: Bucket, found: Finding[ListedObject]) -> Adopted | Literal["gone"]:
        """An unknown object is looked at; never removed, whatever it is.

        :raises Unavailable: the store or the ledger does not answer.
        """
        info = await bucket.objects.head(found.listed.key)
        if info is None:
            return "gone"
        floor = await self.adopt.floor(bucket.destination)
        adoption = await self.adopt(found.listed.key, bucket, info, created_after=floor)
        if adoption.outcome == "adopted":
            extra = {"session_id": found.session_id, "destination": bucket.destination.name}
            _log.warning("session.adopted", extra=extra)
        return adoption.outcome

    async def settle_late(self, bucket: Bucket, found: Finding[ListedObject]) -> bool:
        """Bytes of an expired session whose event was lost are taken like those whose event came. True: accepted.

        What would not be taken is not even looked at: a look might remove it, and nobody counted that beforehand.
        :raises Unavailable: the store or the ledger does not answer.
        """
        session, key = found.session, found.listed.key
        info = await bucket.objects.head(key)
        if session is None or info is None or self.adopt.capsule_on(key, bucket.destination, info) is None:
            return False
        if judge(session.facts.spec, info) is not None:
            return False
        after = (await self.look(DueLook(id=session.id, claim=UNCLAIMED, session=session))).session
        return after is not None and after.state is State.VERIFIED

    async def remove(self, bucket: Bucket, found: Finding[ListedObject]) -> Removal:
        """Removes exactly the state that was listed, if what the ledger and HEAD say now still permits it.

        :raises Unavailable: the store or the ledger does not answer.
        """
        place, listed = bucket.destination, found.listed
        (now_found,) = await self.find(place, [listed])
        session, tombstone = now_found.session, now_found.tombstone
        if tombstone is None or not permits_removal(tombstone, place, self.clock.now()):
            return "left"
        if session is not None and not is_of(session, place, listed.key):
            return "not-ours"
        if session is not None and listed.is_latest:
            after = (await self.look(DueLook(id=session.id, claim=UNCLAIMED, session=session))).session
            is_changed = after is not None and after.progress.revision != session.progress.revision
            return "removed" if is_changed and after and after.facts.is_removed else "left"
        return await self._remove_state(bucket, listed)

    async def clear(self, bucket: Bucket, found: Finding[UnfinishedUpload]) -> bool:
        """Aborts an upload whose session waits for no parts any more. True once nothing is left of it.

        :raises Unavailable: the store or the ledger does not answer.
        """
        upload = found.listed
        (now_found,) = await self.find(bucket.destination, [upload])
        if bucket.multipart is None or not is_over(now_found, bucket):
            return False
        # Asked again by key: an abort under a key that was misread would be answered as if all were done.
        if upload.upload_id not in await bucket.multipart.remover.open_uploads(upload.key):
            return False
        return await bucket.multipart.remover.abort(upload.key, upload.upload_id)

    async def _remove_state(self, bucket: Bucket, listed: ListedObject) -> Removal:
        key, objects = listed.key, bucket.objects
        info = await (objects.head_version(key, listed.version) if listed.version else objects.head(key))
        if info is None:
            return "left"
        capsule = self.adopt.capsule_on(key, bucket.destination, info)
        if capsule is None:
            return "not-ours"
        if not await bucket.remover.remove(key, pin_of(info)):
            return "left"
        extra = {"session_id": capsule.id, "size_bytes": info.size_bytes, "version": info.version}
        _log.info("object.swept", extra=extra)
        return "removed"


def is_over(found: Finding[UnfinishedUpload], bucket: Bucket) -> bool:
    """Whether nobody will send or complete parts any more: settled, or come to nothing. Unknown is not over."""
    if found.session is None:
        return found.tombstone is not None
    return found.session.state is not State.PENDING and is_of(found.session, bucket.destination, found.listed.key)
