"""What a session does with the URI by which its bytes come: it has one, gives it again, and is rid of it.

A URI can be cancelled, which a signed request cannot. So where other sessions wait until nothing can come any more,
this one is closed first – at its deadline, or as soon as nobody wants its bytes –, and only then HEAD is asked.
"""

from datetime import datetime

import msgspec

from broker.contract import State
from broker.domain.errors import SessionSettled
from broker.domain.sessions import Change, Session, revised
from broker.domain.tombstones import BURIED


def lent(session: Session, sealed_uri: str, look_at: datetime) -> Change:
    """The store has opened the upload that the session reserved, or another where that one is gone.

    :raises SessionSettled: it is not pending any more; the upload must go.
    """
    resumable = session.facts.resumable
    if session.state is not State.PENDING or resumable is None:
        raise SessionSettled
    resumable = msgspec.structs.replace(resumable, sealed_uri=sealed_uri)
    return Change(before=session, after=revised(session, resumable=resumable), look_at=look_at)


def must_close(session: Session, now: datetime) -> bool:
    """Whether by its URI something may still come that nobody waits for."""
    facts = session.facts
    if facts.resumable is None or not (facts.resumable.sealed_uri or facts.requests_end_at > now):
        return False
    is_over = session.state is State.PENDING and now >= facts.expires_at
    return is_over or session.state in BURIED or facts.erased_at is not None


def closed(session: Session, now: datetime) -> Change:
    """Nothing can come by its URI any more. Who had reserved an upload and opens it now finds that this came first."""
    facts = session.facts
    resumable = facts.resumable and msgspec.structs.replace(facts.resumable, sealed_uri="")
    after = revised(session, resumable=resumable, requests_end_at=min(facts.requests_end_at, now))
    return Change(before=session, after=after, stays=True)
