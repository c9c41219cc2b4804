"""Read: a signed GET of minutes, pinned to what was verified."""

from dataclasses import dataclass
from datetime import timedelta

from broker.contract import Level, SignedRequest
from broker.domain.copies import Copy
from broker.domain.errors import ObjectErased, PinNotInUrl, SessionNotVerified, UnknownDestination
from broker.domain.fan_out import readable
from broker.domain.objects import pin_of
from broker.domain.queues import Zones, is_within
from broker.domain.sessions import READABLE, Session
from broker.ports import Bucket, Buckets, Clock, GetSigner

MAX_READ_TTL = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    buckets: Buckets
    clock: Clock
    ttl: timedelta = MAX_READ_TTL

    async def __call__(self, session: Session, destination: str | None = None) -> SignedRequest:
        """
        :param destination: of a fan-out the copy that is wanted; None: the first that there is.
        :raises SessionNotVerified: nothing was verified, or not there.
        :raises ObjectErased: it was, and is gone.
        """
        bucket, copy = self._first(session, None if destination is None else frozenset({destination}))
        return await self._sign(session, copy, bucket.get, is_pinned=True)

    async def for_consumer(self, session: Session, zones: Zones = None) -> tuple[Copy, SignedRequest]:
        """The same at the address from which consumers read, and what is read: a place in one of their zones.

        :raises SessionNotVerified: nothing was verified.
        """
        bucket, copy = self._first(session, zones)
        return copy, await self._sign(session, copy, bucket.consumer_get or bucket.get, is_pinned=True)

    async def as_redirect(self, session: Session, destination: str | None = None) -> SignedRequest:
        """A request that is nothing but its URL.

        :raises SessionNotVerified: nothing was verified.
        :raises ObjectErased: it was, and is gone.
        :raises PinNotInUrl: the bucket keeps no versions and the key could have been written again.
        """
        bucket, copy = self._first(session, None if destination is None else frozenset({destination}))
        is_pinned = copy.stored is not None and copy.stored.version is not None
        if not is_pinned and copy.guarantees.create_only is not Level.ENFORCED:
            raise PinNotInUrl
        return await self._sign(session, copy, bucket.get, is_pinned=is_pinned)

    def _first(self, session: Session, zones: Zones) -> tuple[Bucket, Copy]:
        """The first place of those that is configured here."""
        if session.facts.erased_at is not None:
            raise ObjectErased
        copies = readable(session) if session.state in READABLE else ()
        copies = tuple(copy for copy in copies if is_within((copy.destination,), zones))
        if not copies:
            raise SessionNotVerified
        for copy in copies:
            if bucket := self.buckets.get(copy.destination):
                return bucket, copy
        raise UnknownDestination("the destination of this session is no longer configured")

    async def _sign(self, session: Session, copy: Copy, signer: GetSigner, *, is_pinned: bool) -> SignedRequest:
        now, name = self.clock.now(), session.facts.spec.filename
        pin = pin_of(copy.stored) if is_pinned and copy.stored else None
        return await signer.sign_get(copy.key, pin, filename=name, now=now, ends=now + self.ttl)
