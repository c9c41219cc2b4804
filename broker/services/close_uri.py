"""Close a URI: nothing comes by it any more, and the ledger knows. What lies in the store then stays as HEAD finds it.

Who looks closes first and asks then. A death in between is mended by the next look, and cancelling twice is harmless.
"""

import logging
from dataclasses import dataclass
from datetime import datetime

from broker.domain.errors import StoreRefused
from broker.domain.resumable import LIVES_AT_MOST
from broker.domain.resuming import closed, must_close
from broker.domain.sessions import Session
from broker.domain.uris import UriSealer
from broker.ports import Bucket, Sessions
from broker.services.open_uri import uri_of

_log = logging.getLogger("broker.resumable")


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseUri:
    sessions: Sessions
    uris: UriSealer

    async def __call__(self, session: Session, bucket: Bucket, now: datetime) -> Session | None:
        """The session without a URI that nobody waits for; unchanged while there is none, or somebody does.

        None: it is not sure yet that nothing comes any more, or the session has moved on: look again.
        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable: it may still live.
        """
        if not must_close(session, now):
            return session
        if not await self._is_dead(session, bucket, now):
            return None
        change = closed(session, now)
        if not await self.sessions.apply(change):
            return None
        _log.info("resumable.closed", extra={"session_id": session.id, "state": session.state.value})
        return change.after

    async def _is_dead(self, session: Session, bucket: Bucket, now: datetime) -> bool:
        resumable = session.facts.resumable
        if not (resumable and resumable.sealed_uri) or now >= session.facts.expires_at + LIVES_AT_MOST:
            return True
        if bucket.resumable is None:
            raise StoreRefused("the destination of this session no longer cancels uploads")
        return await bucket.resumable.cancel(uri_of(session, self.uris))
