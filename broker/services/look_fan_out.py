"""Look at a fan-out: nothing lies in a store under its own name, so what there is to decide follows from its copies.

Its copies are looked at like any session, and tell it what became of them. What is left is its deadline; and when its
owner erased it, or its consumer rejected it, that nothing of any copy stays behind.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta

from broker.contract import State
from broker.domain.capsule import CapsuleSealer
from broker.domain.errors import CredentialsUnavailable, StoreRefused, StoreUnavailable
from broker.domain.fan_out import ends_at, give_up, given_up, is_stored, lapse
from broker.domain.policy import Policy
from broker.domain.sessions import READABLE, Change, Session, erased
from broker.domain.tombstones import is_kept
from broker.ports import Bucket, Buckets, Clock, DueLook, Looks, Sessions
from broker.services.erase import wipe
from broker.services.missing import Missing
from broker.services.settle import Settle

_log = logging.getLogger("broker.look")

ELSEWHERE = timedelta(seconds=60)  # a destination that is not configured here may be where another process runs
AGAIN = timedelta(seconds=1)  # the object changed between HEAD and removal, or a record meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class LookFanOut:
    buckets: Buckets
    sessions: Sessions
    looks: Looks
    missing: Missing
    settle: Settle
    sealer: CapsuleSealer
    clock: Clock

    async def __call__(self, due: DueLook, session: Session) -> Session:
        """The session as it stands afterwards. Trouble with a store puts the look off."""
        try:
            return await self._look(due, session)
        except (StoreUnavailable, StoreRefused, CredentialsUnavailable) as trouble:
            _log.warning("look.postponed", extra={"session_id": due.id, "code": trouble.code})
            return await self._later(due, session, max(trouble.retry_after, AGAIN))

    async def _look(self, due: DueLook, session: Session) -> Session:
        copies = session.facts.copies
        places = [self.buckets.get(copy.destination) for copy in copies]
        buckets = {copy.destination: bucket for copy, bucket in zip(copies, places, strict=True) if bucket}
        if len(buckets) < len(copies) and session.state is not State.PENDING:
            _log.warning("look.elsewhere", extra={"session_id": due.id})
            return await self._later(due, session, ELSEWHERE)
        if session.facts.erased_at is not None:
            return await self._wipe(due, session, buckets)
        if session.state is State.PENDING:
            return await self._wait_or_lapse(due, session, buckets)
        if session.state is State.REJECTED:
            return await self._give_up(due, session, buckets)
        if session.state in READABLE:
            return await self.missing(due, session, buckets[session.facts.destination])
        await self.looks.postpone(due, None)
        return session

    async def _wait_or_lapse(self, due: DueLook, session: Session, buckets: dict[str, Bucket]) -> Session:
        now, places = self.clock.now(), [bucket.destination for bucket in buckets.values()]
        if not places:
            return await self._later(due, session, ELSEWHERE)
        end = ends_at(session, places)
        if now < end:
            await self.looks.postpone(due, end)
            return session
        change = lapse(session, places[0].policy, now)
        if await self.settle(change, places[0]):
            return change.after
        return await self._later(due, session, AGAIN)

    async def _give_up(self, due: DueLook, session: Session, buckets: dict[str, Bucket]) -> Session:
        """Its consumer rejected it: what nobody keeps goes, and what still comes goes, too."""
        now, unwanted = self.clock.now(), list[Change]()
        ids = [copy.id for copy in session.facts.copies if copy.id]
        for copy in await self.sessions.get_many(ids):
            if copy is None:
                continue
            place = buckets[copy.facts.destination].destination
            change = None if is_kept(State.REJECTED, place) else give_up(copy, place, now)
            if change is not None:
                unwanted.append(change)
        await self._wipe_forgotten(session, {change.after.id for change in unwanted}, buckets)
        change = given_up(session, [each.after for each in unwanted], _policy(session, buckets))
        if await self.sessions.apply(change, *unwanted):
            _log.info("copies.given_up", extra={"session_id": session.id, "copies": len(unwanted)})
            return change.after
        return await self._later(due, session, AGAIN)

    async def _wipe_forgotten(self, session: Session, known: set[str], buckets: dict[str, Bucket]) -> None:
        """Copies whose own records are gone are known here alone."""
        for copy in session.facts.copies:
            is_unwanted = copy.state is State.VERIFIED and copy.id not in known
            if is_unwanted and not is_kept(State.REJECTED, buckets[copy.destination].destination):
                await wipe(copy, buckets[copy.destination], self.sealer)

    async def _wipe(self, due: DueLook, session: Session, buckets: dict[str, Bucket]) -> Session:
        """Its owner erased it: again and again until nothing of any copy is left."""
        stored = [copy for copy in session.facts.copies if is_stored(copy)]
        gone = [await wipe(copy, buckets[copy.destination], self.sealer) for copy in stored]
        if not all(gone):
            return await self._later(due, session, AGAIN)
        change = erased(session, buckets[session.facts.destination].destination, self.clock.now())
        if not await self.sessions.apply(change):
            return await self._later(due, session, AGAIN)
        _log.info("object.erased", extra={"session_id": session.id})
        return change.after

    async def _later(self, due: DueLook, session: Session, wait: timedelta) -> Session:
        await self.looks.postpone(due, self.clock.now() + wait)
        return await self.sessions.get(session.id) or session


def _policy(session: Session, buckets: dict[str, Bucket]) -> Policy:
    return buckets[session.facts.destination].destination.policy
