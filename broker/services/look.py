"""Look: HEAD, judge, settle. The one place where a session's fate is decided, whoever asked for the look."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.contract import Reason, State
from broker.domain.capsule import CapsuleSealer
from broker.domain.errors import CredentialsUnavailable, StoreRefused, StoreUnavailable, Unavailable
from broker.domain.fan_out import note_of
from broker.domain.objects import ObjectInfo, judge, pin_of, unshown
from broker.domain.policy import next_look
from broker.domain.sessions import (
    FOREIGN_OBJECT,
    READABLE,
    Session,
    ends_at,
    erased,
    expire,
    is_completing,
    quiet_at,
    reject,
    removed,
    verify,
)
from broker.domain.tombstones import is_kept
from broker.ports import Bucket, Buckets, Clock, DueLook, Looked, Looks, Sessions
from broker.services.adopt import Adopt
from broker.services.assemble import Assemble
from broker.services.close_uri import CloseUri
from broker.services.erase import is_ours, wipe
from broker.services.look_fan_out import AGAIN, ELSEWHERE, LookFanOut
from broker.services.missing import Missing
from broker.services.settle import Settle

_log = logging.getLogger("broker.look")

CLEARED_BY = timedelta(seconds=5)  # S3 AbortMultipartUpload: parts in flight may land; abort again


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Every write is compare-and-set, so any number of lookers may meet on one session."""

    buckets: Buckets
    sessions: Sessions
    looks: Looks
    assemble: Assemble
    close_uri: CloseUri
    adopt: Adopt
    missing: Missing
    sealer: CapsuleSealer
    clock: Clock
    settle: Settle
    look_fan_out: LookFanOut

    async def __call__(self, due: DueLook) -> Looked:
        """Looks once. Trouble with the store puts the look off; it is never taken for an answer."""
        session, stray = due.session, due.stray
        if not (session or stray):
            await self.looks.postpone(due, None)
            return Looked(session=None, is_answered=False)
        if session and session.facts.copies:
            return Looked(session=await self.look_fan_out(due, session), is_answered=False)
        bucket = self.buckets.get(due.destination)
        if bucket is None:
            _log.warning("look.elsewhere", extra={"session_id": due.id, "destination": due.destination})
            await self.looks.postpone(due, self.clock.now() + ELSEWHERE)
            return Looked(session=session, is_answered=False)
        try:
            return await self._look(due, bucket)
        except (StoreUnavailable, StoreRefused, CredentialsUnavailable) as trouble:
            await self._put_off(due, bucket, trouble)
            return Looked(session=session, is_answered=False)

    async def _look(self, due: DueLook, bucket: Bucket) -> Looked:
        session = due.session or await self._adopted(due, bucket)
        if session is None:
            await self.looks.postpone(due, None)
            return Looked(session=None, is_answered=True)
        asked_at = self.clock.now()  # what came while the answer travelled is not in it
        try:
            closed = await self.close_uri(session, bucket, asked_at)
        except (StoreUnavailable, StoreRefused, CredentialsUnavailable):
            # While it may live, nobody can say that nothing came, or comes again. What is there is whole all the same.
            info = await bucket.objects.head(session.facts.key) if session.state is State.PENDING else None
            if info is None:
                raise
            return Looked(session=await self._settle(due, session, bucket, info, asked_at), is_answered=True)
        if closed is None:
            await self.looks.postpone(due, asked_at + CLEARED_BY)
            return Looked(session=session, is_answered=False)
        return Looked(session=await self._decided(due, closed, bucket, asked_at), is_answered=True)

    async def _decided(self, due: DueLook, session: Session, bucket: Bucket, asked_at: datetime) -> Session:
        if session.facts.erased_at is not None:
            return await self._wipe(due, session, bucket)
        if session.state in READABLE:
            return await self.missing(due, session, bucket)
        info = await bucket.objects.head(session.facts.key)
        if info is None and session.state is State.PENDING and await self.assemble(session, bucket, asked_at):
            session = await self.sessions.get(session.id) or session
            info = await bucket.objects.head(session.facts.key)
        return await self._decide(due, session, bucket, info, asked_at)

    async def _put_off(self, due: DueLook, bucket: Bucket, trouble: Unavailable) -> None:
        _log.warning("look.postponed", extra={"session_id": due.id, "code": trouble.code})
        policy = bucket.destination.policy
        is_urgent = due.session is None or due.session.state not in READABLE
        wait = max(trouble.retry_after, policy.first_look if is_urgent else policy.longest_look_interval)
        await self.looks.postpone(due, self.clock.now() + wait)

    async def _decide(
        self, due: DueLook, session: Session, bucket: Bucket, info: ObjectInfo | None, now: datetime
    ) -> Session:
        if session.state in {State.PENDING, State.EXPIRED} and info is not None:
            return await self._settle(due, session, bucket, info, now)
        if session.state is State.PENDING:
            return await self._wait_or_expire(due, session, bucket, now)
        if not await self.assemble.clear(session, bucket):
            await self.looks.postpone(due, now + CLEARED_BY)
            return session
        if info is None:
            await self._until_quiet(due, session, bucket, now)
            return session
        return await self._remove(due, session, bucket, info, now)

    async def _settle(self, due: DueLook, session: Session, bucket: Bucket, info: ObjectInfo, now: datetime) -> Session:
        reason = self._judged(session, info)
        place = bucket.destination
        if session.state is State.EXPIRED and (reason or place.late == "remove"):
            return await self._remove(due, session, bucket, info, now)
        if not await self.assemble.clear(session, bucket):  # what a crash left beside the upload that was completed
            await self.looks.postpone(due, now + CLEARED_BY)
            return session
        change = reject(session, info, reason, place, now) if reason else verify(session, info, place, now)
        if await self.settle(change, place):
            return change.after
        return await self.sessions.get(session.id) or session

    def _judged(self, session: Session, info: ObjectInfo) -> Reason | None:
        if not self._is_ours(session, info):
            return Reason(code=FOREIGN_OBJECT, message="the object did not come by this session's signed request")
        return judge(session.facts.spec, info) or unshown(session.facts.spec, info, session.facts.guarantees)

    def _is_ours(self, session: Session, info: ObjectInfo) -> bool:
        return is_ours(self.sealer, note_of(session), info)

    async def _wait_or_expire(self, due: DueLook, session: Session, bucket: Bucket, now: datetime) -> Session:
        facts, policy = session.facts, bucket.destination.policy
        end = ends_at(session, policy)
        if is_completing(session, now):
            await self.looks.postpone(due, facts.completing_until)
            return session
        if now >= end:
            change = expire(session, bucket.destination, now)
            if await self.settle(change, bucket.destination):
                return change.after
            return await self.sessions.get(session.id) or session
        # After the last signed request nothing can land until somebody mints again, which schedules a look itself.
        is_quiet = now >= quiet_at(session, policy, now=facts.requests_end_at)
        until = end if is_quiet else min(end, next_look(policy, since=facts.created_at, now=now))
        await self.looks.postpone(due, until)
        return session

    async def _remove(self, due: DueLook, session: Session, bucket: Bucket, info: ObjectInfo, now: datetime) -> Session:
        """Deletes what a tombstone permits: our own bytes, by the version just seen, once no late request can land."""
        facts, place = session.facts, bucket.destination
        quiet = quiet_at(session, place.policy, now=facts.requests_end_at)
        if now < quiet or not self._is_ours(session, info) or is_kept(session.state, place):
            await self._until_quiet(due, session, bucket, now)
            return session
        if not await bucket.remover.remove(facts.key, pin_of(info)):
            await self.looks.postpone(due, now + AGAIN)
            return session
        _log.info("object.removed", extra={"session_id": session.id, "state": session.state.value})
        change = removed(session, place)
        return change.after if await self.sessions.apply(change) else session

    async def _wipe(self, due: DueLook, session: Session, bucket: Bucket) -> Session:
        """Its owner erased it: again and again until nothing of it is left, and once more when it has been quiet."""
        if not await wipe(note_of(session), bucket, self.sealer):
            await self.looks.postpone(due, self.clock.now() + AGAIN)
            return session
        change = erased(session, bucket.destination, self.clock.now())
        if not await self.sessions.apply(change):
            return await self.sessions.get(session.id) or session
        _log.info("object.erased", extra={"session_id": session.id})
        return change.after

    async def _until_quiet(self, due: DueLook, session: Session, bucket: Bucket, now: datetime) -> None:
        """Nothing to remove yet. While a signed request lives, its bytes may still come, and their event be lost."""
        quiet = quiet_at(session, bucket.destination.policy, now=session.facts.requests_end_at)
        await self.looks.postpone(due, quiet if now < quiet else None)

    async def _adopted(self, due: DueLook, bucket: Bucket) -> Session | None:
        """A session that the ledger lost, rebuilt from the capsule on its object."""
        stray = due.stray
        info = await bucket.objects.head(stray.key) if stray else None
        if stray is None or info is None:
            return None
        floor = await self.adopt.floor(bucket.destination)
        adoption = await self.adopt(stray.key, bucket, info, created_after=floor)
        event = "session.adopted" if adoption.session else "object.unknown"
        _log.warning(event, extra={"session_id": due.id, "destination": stray.destination})
        return adoption.session
