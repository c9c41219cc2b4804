"""Read: a signed GET of minutes, pinned to what was verified."""

from dataclasses import dataclass
from datetime import timedelta

from broker.contract import Level, SignedRequest
from broker.domain.errors import ObjectErased, PinNotInUrl, SessionNotVerified, UnknownDestination
from broker.domain.objects import Pin, pin_of
from broker.domain.sessions import READABLE, Session
from broker.ports import Bucket, Buckets, Clock, GetSigner

MAX_READ_TTL = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    buckets: Buckets
    clock: Clock
    ttl: timedelta = MAX_READ_TTL

    async def __call__(self, session: Session) -> SignedRequest:
        """:raises SessionNotVerified: nothing was verified.
        :raises ObjectErased: it was, and is gone.
        """
        bucket, pin = self._verified(session)
        return await self._sign(session, bucket.get, pin)

    async def for_consumer(self, session: Session) -> SignedRequest:
        """The same at the address from which consumers read.

        :raises SessionNotVerified: nothing was verified.
        """
        bucket, pin = self._verified(session)
        return await self._sign(session, bucket.consumer_get or bucket.get, pin)

    async def as_redirect(self, session: Session) -> SignedRequest:
        """A request that is nothing but its URL.

        :raises SessionNotVerified: nothing was verified.
        :raises ObjectErased: it was, and is gone.
        :raises PinNotInUrl: the bucket keeps no versions and the key could have been written again.
        """
        bucket, pin = self._verified(session)
        if pin.version is not None:
            return await self._sign(session, bucket.get, pin)
        if session.facts.guarantees.create_only is not Level.ENFORCED:
            raise PinNotInUrl
        return await self._sign(session, bucket.get, None)

    def _verified(self, session: Session) -> tuple[Bucket, Pin]:
        if session.facts.erased_at is not None:
            raise ObjectErased
        if session.state not in READABLE or session.facts.stored is None:
            raise SessionNotVerified
        bucket = self.buckets.get(session.facts.destination)
        if bucket is None:
            raise UnknownDestination("the destination of this session is no longer configured")
        return bucket, pin_of(session.facts.stored)

    async def _sign(self, session: Session, signer: GetSigner, pin: Pin | None) -> SignedRequest:
        now = self.clock.now()
        name = session.facts.spec.filename
        return await signer.sign_get(session.facts.key, pin, filename=name, now=now, ends=now + self.ttl)
