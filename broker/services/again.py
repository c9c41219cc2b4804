"""Again: how a session stands, for whoever lost a race about it."""

from broker.domain.errors import SessionNotFound
from broker.domain.sessions import Session
from broker.ports import Sessions


async def read_again(sessions: Sessions, session_id: str) -> Session:
    """:raises SessionNotFound: it was forgotten meanwhile."""
    session = await sessions.get(session_id)
    if session is None:
        raise SessionNotFound
    return session
