"""Look: HEAD, judge, settle. The one place where a session's fate is decided, whoever asked for the look."""

import logging
from dataclasses import dataclass
from datetime import datetime

from broker.contract import Reason, State
from broker.domain.capsule import CapsuleSealer, spec_of
from broker.domain.errors import Unavailable
from broker.domain.keys import session_id_in
from broker.domain.objects import CAPSULE_FIELD, ObjectInfo, judge, pin_of
from broker.domain.policy import grace, next_look
from broker.domain.sessions import (
    FOREIGN_OBJECT,
    LOOKED_AT,
    Change,
    Facts,
    Session,
    begin,
    expire,
    quiet_at,
    reject,
    removed,
    verify,
)
from broker.ports import Bell, Bucket, Buckets, Clock, DueLook, Looks, Sessions, Stray

_log = logging.getLogger("broker.look")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Every write is compare-and-set, so any number of lookers may meet on one session."""

    buckets: Buckets
    sessions: Sessions
    looks: Looks
    sealer: CapsuleSealer
    clock: Clock
    work: Bell

    async def __call__(self, due: DueLook) -> Session | None:
        """Looks once. The session as it stands afterwards, or None where there is none.

        Trouble with the store puts the look off; it is never taken for an answer.
        """
        session = due.session or await self._adopted(due)
        if session is None:
            await self.looks.postpone(due, None)
            return None
        bucket = self.buckets.get(session.facts.destination)
        if bucket is None or session.state not in LOOKED_AT:
            await self.looks.postpone(due, None)
            return session
        try:
            info = await bucket.objects.head(session.facts.key)
        except Unavailable as trouble:
            _log.warning("look.postponed", extra={"session_id": session.id, "code": trouble.code})
            await self.looks.postpone(
                due, self.clock.now() + max(trouble.retry_after, bucket.destination.policy.first_look)
            )
            return session
        return await self._decide(due, session, bucket, info)

    async def _decide(self, due: DueLook, session: Session, bucket: Bucket, info: ObjectInfo | None) -> Session:
        now = self.clock.now()
        if session.state in {State.PENDING, State.EXPIRED} and info is not None:
            return await self._settle(due, session, bucket, info, now)
        if session.state is State.PENDING:
            return await self._wait_or_expire(due, session, bucket, now)
        if info is None:
            await self.looks.postpone(due, None)
            return session
        return await self._remove(due, session, bucket, info, now)

    async def _settle(self, due: DueLook, session: Session, bucket: Bucket, info: ObjectInfo, now: datetime) -> Session:
        reason = self._judged(session, info)
        place = bucket.destination
        if session.state is State.EXPIRED and (reason or place.late == "remove"):
            return await self._remove(due, session, bucket, info, now)
        change = reject(session, info, reason, place, now) if reason else verify(session, info, place, now)
        if not await self.sessions.apply(change):
            return await self.sessions.get(session.id) or session
        self._tell(change)
        return change.after

    def _judged(self, session: Session, info: ObjectInfo) -> Reason | None:
        facts = session.facts
        capsule = self.sealer.open(info.metadata.get(CAPSULE_FIELD, ""), bucket=facts.bucket, key=facts.key)
        if capsule is None or capsule.id != session.id:
            return Reason(code=FOREIGN_OBJECT, message="the object did not come by this session's signed request")
        return judge(facts.spec, info)

    async def _wait_or_expire(self, due: DueLook, session: Session, bucket: Bucket, now: datetime) -> Session:
        facts, policy = session.facts, bucket.destination.policy
        end = facts.expires_at + grace(policy, facts.spec.size_bytes)
        if now >= end:
            change = expire(session, bucket.destination, now)
            if await self.sessions.apply(change):
                self._tell(change)
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
        capsule = self.sealer.open(info.metadata.get(CAPSULE_FIELD, ""), bucket=facts.bucket, key=facts.key)
        is_kept = place.on_reject == "keep" and session.state is State.REJECTED
        if capsule is None or capsule.id != session.id or is_kept:
            await self.looks.postpone(due, None)
            return session
        if now < quiet:
            await self.looks.postpone(due, quiet)
            return session
        await bucket.remover.remove(facts.key, pin_of(info))
        _log.info("object.removed", extra={"session_id": session.id, "state": session.state.value})
        change = removed(session, place)
        return change.after if await self.sessions.apply(change) else session

    async def _adopted(self, due: DueLook) -> Session | None:
        """A session that the ledger lost, rebuilt from the capsule on its object."""
        stray, now = due.stray, self.clock.now()
        bucket = self.buckets.get(stray.destination) if stray else None
        if stray is None or bucket is None:
            return None
        info = await bucket.objects.head(stray.key)
        facts = self._rebuilt(stray, bucket, info, now) if info else None
        if facts is None:
            _log.warning("object.unknown", extra={"session_id": due.id, "destination": stray.destination})
            return None
        created = await self.sessions.create(begin(due.id, facts, facts.created_at), look_at=now, idempotency=None)
        _log.warning("session.adopted", extra={"session_id": due.id, "destination": stray.destination})
        return created.session

    def _rebuilt(self, stray: Stray, bucket: Bucket, info: ObjectInfo, now: datetime) -> Facts | None:
        place = bucket.destination
        capsule = self.sealer.open(info.metadata.get(CAPSULE_FIELD, ""), bucket=place.bucket, key=stray.key)
        if capsule is None or capsule.id != session_id_in(place.prefix, stray.key):
            return None
        if now >= capsule.created_at + place.policy.retention:
            return None  # its record may have been processed and forgotten: adopting it would process it twice
        spec = spec_of(capsule, filename=stray.key.rpartition("/")[2], object_metadata=info.metadata)
        return Facts(
            principal=capsule.principal,
            destination=place.name,
            bucket=place.bucket,
            key=stray.key,
            spec=spec,
            guarantees=bucket.put.binds(spec),
            created_at=capsule.created_at,
            expires_at=capsule.expires_at,
            requests_end_at=capsule.expires_at,
            metadata=capsule.metadata,
            owner=capsule.owner,
            batch=capsule.batch,
        )

    def _tell(self, change: Change) -> None:
        after = change.after
        extra = {"session_id": after.id, "reason": after.facts.reason.code if after.facts.reason else None}
        _log.info(f"upload.{after.state.value}", extra=extra)
        if change.job_at is not None:
            self.work.ring()
