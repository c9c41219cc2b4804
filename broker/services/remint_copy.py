"""Remint a copy: of a fan-out one copy is minted again, alone, whatever became of the others.

A copy that is pending gets fresh requests, as any session does. One that was rejected, or whose time is over, gets a
session of its own in its place – a fresh id, key and deadline –, also when the fan-out has long been settled. What it
left behind keeps its tombstone.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from broker.contract import PartRequest, State, Upload
from broker.domain.copies import Copy
from broker.domain.errors import (
    CompletionInProgress,
    Overloaded,
    SessionSettled,
    UnknownDestination,
)
from broker.domain.fan_out import copy_in, give_up, need_wanted, replaced
from broker.domain.sessions import Session, is_completing
from broker.ports import Bucket, Buckets, Clock, Sessions
from broker.services.admission import Strategy, agree, choose
from broker.services.again import read_again
from broker.services.drafts import CopyDraft
from broker.services.mint_copies import MintCopies, draft_of
from broker.services.remint import Remint

_log = logging.getLogger("broker.copies")
_TRIES = 20  # a lost race means that a copy was written meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class RemintCopy:
    buckets: Buckets
    sessions: Sessions
    remint: Remint
    copies: MintCopies
    clock: Clock

    async def __call__(self, session: Session, destination: str | None) -> tuple[Session, Upload]:
        """The fan-out afterwards, and what to send to `destination`.

        :raises UnknownDestination: it names none of the copies, or a destination that is no longer configured.
        :raises SessionSettled: that copy is there, or nobody waits for it any more.
        :raises ObjectErased: its owner erased it.
        :raises CompletionInProgress: its parts are being put together.
        :raises ChecksumNotProvable, StrategyTooWeak, SizeTooLarge: by the destination's present terms.
        :raises Unavailable: ledger, store or credential.
        """
        for _ in range(_TRIES):
            need_wanted(session)
            noted = _noted(session, destination)
            bucket = self.buckets.get(noted.destination)
            if bucket is None:
                raise UnknownDestination.at("/destination", "this destination is no longer configured")
            copy = await self.sessions.get(noted.id) if noted.id else None
            now = self.clock.now()
            if copy is not None and copy.state is State.PENDING and now < copy.facts.expires_at:
                try:
                    return session, (await self.remint(copy))[1]
                except SessionSettled:
                    pass  # it ended at this moment
            elif copy is not None and is_completing(copy, now):
                raise CompletionInProgress
            elif (upload := await self._anew(session, noted, copy, bucket, now)) is not None:
                return upload
            session = await read_again(self.sessions, session.id)
        raise Overloaded("the copies of this session change at this moment; try again")

    async def parts(self, session: Session, destination: str | None, numbers: Sequence[int]) -> list[PartRequest]:
        """Fresh requests for these parts of one copy.

        :raises UnknownDestination, SessionSettled, ObjectErased: as above.
        :raises NotMultipart, InvalidInput: as `Remint.parts`.
        """
        need_wanted(session)
        noted = _noted(session, destination)
        copy = await self.sessions.get(noted.id) if noted.id else None
        if copy is None:
            raise SessionSettled
        return await self.remint.parts(copy, numbers)

    async def _anew(
        self, session: Session, noted: Copy, old: Session | None, bucket: Bucket, now: datetime
    ) -> tuple[Session, Upload] | None:
        """None: somebody else was faster."""
        draft = await self.copies.signed(self._draft(session, bucket, old, now))
        change = replaced(session, noted, draft.new.session)
        # Of what came to nothing nobody may make something any more: it would be a copy that nobody knows of.
        left = give_up(old, bucket.destination, now) if old is not None else None
        if not await self.sessions.apply(change, *([left] if left else []), begins=draft.new):
            return None
        extra = {"session_id": session.id, "destination": noted.destination, "copy_id": draft.new.session.id}
        _log.info("copy.minted_again", extra=extra)
        return change.after, await self.copies.first(draft)

    def _draft(self, session: Session, bucket: Bucket, old: Session | None, now: datetime) -> CopyDraft:
        strategy: Strategy = "auto"
        if old is not None:
            strategy = "multipart" if old.facts.multipart else "put"
        spec, beside = session.facts.spec, (self.buckets.get(name) for name in session.facts.destinations)
        digest, _ = agree("auto", spec, [other for other in beside if other is not None])
        choice = choose(strategy, spec, bucket, proves=digest)
        return draft_of(session, bucket, choice, now, expires_at=now + bucket.destination.policy.deadline)


def _noted(session: Session, destination: str | None) -> Copy:
    if destination is None:
        raise UnknownDestination.at("/destination", "name the copy: this session has several")
    noted = copy_in(session, destination)
    if noted is None:
        raise UnknownDestination.at("/destination", "this session has no copy there")
    if noted.state is State.VERIFIED:
        raise SessionSettled("this copy is there")
    return noted
