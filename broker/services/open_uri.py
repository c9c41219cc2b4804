"""Open a URI: the store holds an upload open for a session that reserved one, and the ledger keeps its URI, sealed.

The session is recorded first, and its URI before anybody is given it. So whoever dies in between leaves a URI that
nobody holds; and whoever is given one is given the one that the ledger knows, and can cancel.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta

from broker.contract import State
from broker.domain.capsule import CapsuleSealer, capsule_of
from broker.domain.errors import CompletionInProgress, CredentialsUnavailable, Overloaded, SessionSettled, Unavailable
from broker.domain.resuming import lent
from broker.domain.sessions import Session, remint
from broker.domain.uris import UriSealer
from broker.ports import Bucket, Clock, ResumableUploads, Sessions
from broker.services.again import read_again

_log = logging.getLogger("broker.resumable")
_KEY_MISSES_FOR = timedelta(minutes=1)  # ours: until an operator has put it back, all its sessions ask in vain
_TRIES = 20  # a lost race means that somebody else moved the session on


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenUri:
    sessions: Sessions
    sealer: CapsuleSealer
    uris: UriSealer
    clock: Clock

    async def __call__(self, session: Session, bucket: Bucket) -> Session:
        """The session with a URI; unchanged when it has one, or is of another kind.

        :raises SessionSettled: it ended meanwhile.
        :raises Unavailable: the store did not open one; the session waits for another try.
        """
        for _ in range(_TRIES):
            if not is_reserved(session):
                return session
            session = await self._opened(session, bucket) or await read_again(self.sessions, session.id)
        raise _crowded()

    async def again(self, session: Session, bucket: Bucket) -> Session:
        """The same for one that may have sent something: its URI stays as long as the store knows it.

        :raises CompletionInProgress: the store has it all; a look follows at once.
        """
        for _ in range(_TRIES):
            if session.facts.resumable is None or (not is_reserved(session) and await self._lives(session, bucket)):
                return session
            if (opened := await self._opened(session, bucket)) is not None:
                return opened
            session = await read_again(self.sessions, session.id)
        raise _crowded()

    async def _lives(self, session: Session, bucket: Bucket) -> bool:
        """Whether bytes can come by its URI. One that is given away for another is dead: nobody could cancel it."""
        facts, uploads, uri = session.facts, uploads_of(bucket), uri_of(session, self.uris)
        offset = await uploads.offset(uri, facts.spec.size_bytes)
        if offset is not None and offset < facts.spec.size_bytes:
            return True
        # A store may forget an upload that it completed: then nothing of it need be sent again.
        found = await bucket.objects.head(facts.key)
        if found is None and (offset is None or await uploads.cancel(uri)):
            _log.warning("resumable.vanished", extra={"session_id": session.id})
            return False
        await self.sessions.apply(remint(session, facts.requests_end_at, self.clock.now()))
        raise CompletionInProgress("the store has it, or had it; the broker looks what became of it")

    async def _opened(self, session: Session, bucket: Bucket) -> Session | None:
        """With a URI of its own. None: somebody else moved the session on, and this one is nobody's."""
        facts, uploads = session.facts, uploads_of(bucket)
        if session.state is not State.PENDING or facts.resumable is None:
            raise SessionSettled
        capsule = self.sealer.seal(capsule_of(session.id, facts), bucket=facts.bucket, key=facts.key)
        uri = await uploads.open(facts.key, facts.spec, capsule, origin=facts.resumable.origin)
        sealed = self.uris.seal(uri, session_id=session.id, key=facts.key)
        change = lent(session, sealed, self.clock.now() + bucket.destination.policy.first_look)
        if await self.sessions.apply(change):
            return change.after
        _log.info("resumable.superseded", extra={"session_id": session.id})
        await self._drop(session, uploads, uri)
        return None

    async def _drop(self, session: Session, uploads: ResumableUploads, uri: str) -> None:
        """Nobody was given it: that it lives on for a week is untidy, no more."""
        try:
            await uploads.cancel(uri)
        except Unavailable as trouble:
            _log.info("resumable.left", extra={"session_id": session.id, "code": trouble.code})


def uploads_of(bucket: Bucket) -> ResumableUploads:
    """:raises SessionSettled: the destination no longer opens any."""
    if bucket.resumable is None:
        raise SessionSettled("the destination of this session no longer opens uploads that can be taken up again")
    return bucket.resumable


def uri_of(session: Session, uris: UriSealer) -> str:
    """:raises CredentialsUnavailable: no key that is configured here opens it."""
    facts = session.facts
    sealed = facts.resumable.sealed_uri if facts.resumable else ""
    uri = uris.open(sealed, session_id=session.id, key=facts.key)
    if uri is None:
        _log.error("resumable.unreadable", extra={"session_id": session.id})
        trouble = CredentialsUnavailable("none of secrets.encryption_keys opens the upload URI of this session")
        trouble.retry_after = _KEY_MISSES_FOR
        raise trouble
    return uri


def is_reserved(session: Session) -> bool:
    """Whether nobody has opened yet what is to be filled by a URI; or it was closed."""
    return session.facts.resumable is not None and not session.facts.resumable.sealed_uri


def _crowded() -> Overloaded:
    return Overloaded("many ask for the URI of this session at once; try again")
