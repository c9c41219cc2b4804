"""Open: an upload in the store for a session that reserved it; here one in parts, `open_uri.py` knows the other kind.

The ledger knows the session first, so a crash leaves no orphan: whatever was begun under its key is found by that key
when the session ends, recorded or not.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta

from broker.contract import State
from broker.domain.capsule import CapsuleSealer, capsule_of
from broker.domain.errors import IdempotencyInFlight, SessionNotFound, SessionSettled
from broker.domain.sessions import Session, opened
from broker.ports import Bucket, Clock, Sessions
from broker.services.grant import rights_of
from broker.services.open_uri import OpenUri, is_reserved

_log = logging.getLogger("broker.multipart")

OPENS_WITHIN = timedelta(seconds=15)  # longer than the call to the store; a slower one has crashed


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenUpload:
    sessions: Sessions
    sealer: CapsuleSealer
    clock: Clock
    open_uri: OpenUri

    async def __call__(self, session: Session, bucket: Bucket) -> Session:
        """The session with an upload id or a URI; unchanged when it has one, or is a single PUT.

        :raises SessionSettled: it ended meanwhile.
        :raises Unavailable: the store did not begin it; the session waits for another try.
        """
        if session.facts.resumable is not None:
            return await self.open_uri(session, bucket)
        if session.facts.multipart is None or session.facts.multipart.upload_id:
            return session
        if session.state is not State.PENDING:
            raise SessionSettled  # its lookers may have cleared away for the last time
        facts = session.facts
        _, rights = rights_of(session, bucket)
        capsule = self.sealer.seal(capsule_of(session.id, facts), bucket=facts.bucket, key=facts.key)
        upload_id = await rights.uploads.open(facts.key, facts.spec, capsule)
        look_at = self.clock.now() + bucket.destination.policy.first_look
        change = opened(session, upload_id, look_at)
        if await self.sessions.apply(change):
            return change.after
        # Somebody else moved the session on: this upload is nobody's.
        await rights.remover.abort(facts.key, upload_id)
        _log.info("multipart.superseded", extra={"session_id": session.id})
        current = await self.sessions.get(session.id)
        if current is None:
            raise SessionNotFound
        return await self(current, bucket)

    async def again(self, session: Session, bucket: Bucket) -> Session:
        """The same for a session that may have sent something.

        :raises CompletionInProgress: the store has all that was to come by its URI.
        """
        if session.facts.resumable is not None:
            return await self.open_uri.again(session, bucket)
        return await self(session, bucket)

    def need_quiet(self, session: Session) -> None:
        """:raises IdempotencyInFlight: the request that reserved it may still be opening it."""
        multipart = session.facts.multipart
        has_begun = not is_reserved(session) and (multipart is None or multipart.upload_id)
        if has_begun or session.state is not State.PENDING:
            return
        if self.clock.now() < session.facts.created_at + OPENS_WITHIN:
            raise IdempotencyInFlight
