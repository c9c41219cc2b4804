"""Adopt: a session that the ledger lost, rebuilt from the capsule on its object. The bucket is the second witness."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from broker.contract import Guarantees
from broker.domain.capsule import Capsule, CapsuleSealer, spec_of
from broker.domain.errors import InvalidInput, Overloaded
from broker.domain.fan_out import ends_at, rebuilt, taken_in
from broker.domain.keys import session_id_in
from broker.domain.objects import CAPSULE_FIELD, ObjectInfo, UploadSpec
from broker.domain.policy import Destination, weaker
from broker.domain.resumable import LIVES_AT_MOST
from broker.domain.sessions import Facts, Session, begin
from broker.ports import Bucket, Clock, Identity, NewSession, Sessions, Tombstones
from broker.services.admission import agree

OTHERS_FOUND_WITHIN = timedelta(hours=1)  # ours: to go through the other buckets
_TRIES = 20  # a lost race means that another copy was adopted, or settled

Outcome = Literal["adopted", "known", "not-ours", "too-old"]  # known: by its record, or by its tombstone


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """`session` is the one that holds now, where there is one."""

    outcome: Outcome
    session: Session | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    sessions: Sessions
    tombstones: Tombstones
    identity: Identity
    sealer: CapsuleSealer
    clock: Clock

    async def __call__(self, key: str, bucket: Bucket, info: ObjectInfo, *, created_after: datetime) -> Adoption:
        """Believes an object that carries a capsule of this very id and place; its first look is now.

        :param info: what HEAD just said of `key`.
        :param created_after: from `floor`, or what an operator knows better.
        :raises LedgerUnavailable:
        """
        capsule = self.capsule_on(key, bucket.destination, info)
        if capsule is None:
            return Adoption(outcome="not-ours")
        if capsule.created_at <= created_after:
            return Adoption(outcome="too-old")
        if await self.tombstones.find_many([capsule.id]) != [None]:
            return Adoption(outcome="known")  # it came to nothing, and must not come to life again
        facts = _facts(capsule, key, bucket, info)
        session = begin(capsule.id, facts, facts.created_at)
        if capsule.copy_of:
            return await self._copy(session, bucket.destination)
        created = await self.sessions.create(session, look_at=self.clock.now(), idempotency=None)
        if created.is_replay:
            return Adoption(outcome="known", session=created.session)
        return Adoption(outcome="adopted", session=created.session)

    async def _copy(self, copy: Session, place: Destination) -> Adoption:
        """With the fan-out that it serves, or into it: from whichever bucket copies come to light, it is one."""
        new = NewSession(session=copy, look_at=self.clock.now())
        for _ in range(_TRIES):
            session = await self.sessions.get(copy.facts.copy_of)
            if session is not None:
                if (known := await self.sessions.get(copy.id)) is not None:
                    return Adoption(outcome="known", session=known)
                change = taken_in(session, copy)
                if change is None:
                    return Adoption(outcome="known")
                if await self.sessions.apply(change, begins=new):
                    return Adoption(outcome="adopted", session=copy)
            elif await self.tombstones.find_many([copy.facts.copy_of]) != [None]:
                return Adoption(outcome="known")  # it came to nothing, and its copies with it
            else:
                session = rebuilt(copy)
                # Whatever its deadline was: the other copies need time to be found, too.
                look_at = max(ends_at(session, [place]), new.look_at + OTHERS_FOUND_WITHIN)
                created = await self.sessions.create(session, look_at=look_at, idempotency=None, copies=(new,))
                if not created.is_replay:
                    return Adoption(outcome="adopted", session=copy)
        raise Overloaded("the copies of this session change at this moment; try again")

    async def floor(self, place: Destination) -> datetime:
        """What was minted up to then is not adopted: its record may have been processed and forgotten, so that
        adopting it would process it twice; or an operator said so when the ledger was recovered.

        :raises LedgerUnavailable:
        """
        oldest = self.clock.now() - place.policy.retention
        said = await self.identity.adoption_floor(place.name)
        return oldest if said is None else max(oldest, said)

    def capsule_on(self, key: str, place: Destination, info: ObjectInfo) -> Capsule | None:
        """What the broker sealed onto this object for this very key; None when it did not, or it was copied here."""
        capsule = self.sealer.open(info.metadata.get(CAPSULE_FIELD, ""), bucket=place.bucket, key=key)
        return capsule if capsule and capsule.id == session_id_in(place.prefix, key) else None


def _facts(capsule: Capsule, key: str, bucket: Bucket, info: ObjectInfo) -> Facts:
    spec = spec_of(capsule, filename=key.rpartition("/")[2], object_metadata=info.metadata)
    return Facts(
        principal=capsule.principal,
        destination=bucket.destination.name,
        bucket=bucket.destination.bucket,
        key=key,
        spec=spec,
        guarantees=_of_copy(bucket, spec) if capsule.copy_of else _weakest(bucket, spec),
        created_at=capsule.created_at,
        expires_at=capsule.expires_at,
        requests_end_at=_last_request(capsule, bucket),
        metadata=capsule.metadata,
        owner=capsule.owner,
        batch=capsule.batch,
        copy_of=capsule.copy_of,
        required=capsule.required,
        destinations=capsule.destinations,
    )


def _last_request(capsule: Capsule, bucket: Bucket) -> datetime:
    """A URI that came by this upload went down with the ledger: nobody can cancel it."""
    is_lent = bucket.resumable is not None and not capsule.copy_of
    return capsule.expires_at + LIVES_AT_MOST if is_lent else capsule.expires_at


def _weakest(bucket: Bucket, spec: UploadSpec) -> Guarantees:
    """What is true of `spec` by whichever strategy it came: nobody remembers."""
    known = bucket.put.binds(spec)
    if bucket.multipart:
        known = weaker(known, bucket.multipart.signer.binds(spec))
    return weaker(known, bucket.resumable.binds(spec)) if bucket.resumable else known


def _of_copy(bucket: Bucket, spec: UploadSpec) -> Guarantees:
    """A copy came by a strategy whose digest the store proves, if there still is one."""
    try:
        _, (choice,) = agree("auto", spec, [bucket])
    except InvalidInput:
        return _weakest(bucket, spec)
    return choice.guarantees
