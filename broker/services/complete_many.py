"""Complete many: a client says of many uploads at once that they are done. What `Complete` does for each of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from broker.contract import State
from broker.domain.errors import BrokerError, LedgerUnavailable, SessionNotFound
from broker.domain.principals import ApiKey
from broker.domain.sessions import LOOKED_AT, Session
from broker.ports import Looked, Sessions
from broker.services.complete import MAY_COME
from broker.services.look_at_many import Found, LookAtMany
from broker.services.survey_many import READ_AT_ONCE, SurveyMany
from broker.services.turns import pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A session as it stands, and whether that is news.

    :ivar is_looked_at: it is settled; or the store was asked after the call came, and what it said is in `session`:
        one that is still pending has nothing there, or not all of its parts. Of a fan-out: each copy that may come.
    """

    session: Session
    is_looked_at: bool


Answer: TypeAlias = Completed | BrokerError
_Waiting: TypeAlias = Mapping[str, Sequence[Session]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteMany:
    survey_many: SurveyMany
    sessions: Sessions
    look_at_many: LookAtMany

    async def __call__(self, api_key: ApiKey, names: Sequence[str]) -> list[Answer]:
        """In the order asked for; of one that stands twice the answer, too. One item's trouble is its own.

        :param names: any text; what cannot be an id never reaches the ledger.
        :raises LedgerUnavailable: not even what the sessions are can be read.
        """
        asked = [session async for piece in self.survey_many(api_key, names) for session in piece]
        known = {session.id: session for session in asked if session is not None}
        waiting = await self._waiting(known.values())
        found = await self.look_at_many(session for each in waiting.values() for session in each)
        unread = [session_id for session_id in waiting if not _is_read(session_id, found)]
        known |= await self._read_again(unread)
        answers = {each.id: _answer(each, waiting.get(each.id, ()), found) for each in known.values()}
        return [SessionNotFound() if session is None else answers[session.id] for session in asked]

    async def _waiting(self, sessions: Iterable[Session]) -> _Waiting:
        """What to look at, by who waits for it: the session itself, or of a fan-out its copies that may still come."""
        waiting: dict[str, list[Session]] = {}
        of_copy: dict[str, str] = {}
        for session in sessions:
            if session.facts.copies:
                of_copy |= {copy.id: session.id for copy in session.facts.copies if copy.id}
            elif session.state in LOOKED_AT:
                waiting[session.id] = [session]
        for copy in (await self._read([*of_copy])).values():
            if copy.state in MAY_COME:
                waiting.setdefault(of_copy[copy.id], []).append(copy)
        return waiting

    async def _read_again(self, ids: Sequence[str]) -> dict[str, Session]:
        """What others made of them meanwhile. Where nobody can say, what was known stands, and is told as no news."""
        try:
            return await self._read(ids)
        except LedgerUnavailable:
            return {}

    async def _read(self, ids: Sequence[str]) -> dict[str, Session]:
        found: dict[str, Session] = {}
        for piece in pieces(ids, READ_AT_ONCE):
            found |= {each.id: each for each in await self.sessions.get_many(piece) if each is not None}
        return found


def _is_read(session_id: str, found: Found) -> bool:
    looked = found.get(session_id)
    return isinstance(looked, Looked) and looked.session is not None


def _answer(session: Session, waiting: Sequence[Session], found: Found) -> Answer:
    own = found.get(session.id)
    if isinstance(own, BrokerError):
        return own
    if own is not None and own.session is not None:
        session = own.session
    looked = [found.get(each.id) for each in waiting]
    is_answered = all(isinstance(each, Looked) and each.is_answered for each in looked)
    return Completed(session=session, is_looked_at=is_answered or session.state is not State.PENDING)
