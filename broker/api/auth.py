"""Who calls, and what may he touch: Bearer API keys (RFC 6750) and session tokens.

Each route names its access in the table of `operations`, and `mount` admits the caller before the handler runs: a route
without a check cannot be written. A session belongs to the principal that minted it; to anyone else it does not exist,
by the same answer after the same work.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from litestar import Request

from broker.api.answers import request_headers
from broker.domain.errors import BrokerError, Forbidden, LedgerUnavailable, SessionNotFound, Unauthenticated
from broker.domain.fan_out import destinations_of
from broker.domain.keys import is_session_id
from broker.domain.principals import ApiKey, Role, is_key, key_id_in
from broker.domain.sessions import Session
from broker.domain.tokens import Tokens
from broker.ports import ApiKeys, Clock, Sessions

API_KEY = "apiKey"
SESSION_TOKEN = "sessionToken"  # noqa: S105 - the name of a security scheme
_TOKEN_PREFIX = "us_"  # noqa: S105 - how the text of a session token begins

C_co = TypeVar("C_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What it takes to tell who calls."""

    keys: ApiKeys
    tokens: Tokens
    clock: Clock
    sessions: Sessions

    async def api_key(self, text: str, role: Role) -> ApiKey:
        """:raises Unauthenticated: it is not a live key.
        :raises Forbidden: it is, for something else.
        """
        api_key = await self.keys.find(key_id_in(text))
        if not is_key(api_key, text) or api_key is None:
            raise Unauthenticated
        api_key.require(role)
        return api_key

    async def session_of_key(self, text: str, session_id: str, role: Role = Role.MINT) -> Session:
        """:raises SessionNotFound: there is none, or another principal minted it and this is no admin there."""
        api_key = await self.api_key(text, role)
        session = await self.session(session_id)
        if not api_key.may_see(session.facts.principal, destinations_of(session)):
            raise SessionNotFound
        return session

    async def session_of_token(self, text: str, session_id: str) -> Session:
        """The MAC is checked first, so a token that does not open says nothing about the session.

        :raises Unauthenticated: it is not a token of this session, it has ended, or the key that minted it was revoked.
        """
        if not self.tokens.opens_session(text, session_id, self.clock.now()):
            raise Unauthenticated
        session = await self.session(session_id)
        minter = await self.keys.find(session.facts.principal)
        if minter is None or minter.generation != self.tokens.generation_in(text):
            raise Unauthenticated
        return session

    async def session(self, session_id: str) -> Session:
        """A text that cannot be an id never reaches the ledger. A copy is nobody's session: it serves another.

        :raises SessionNotFound:
        """
        session = await self.sessions.get(session_id) if is_session_id(session_id) else None
        if session is None or session.facts.copy_of:
            raise SessionNotFound
        return session


class Access(Protocol[C_co]):
    """Admits a caller to a route, and says so in the OpenAPI."""

    @property
    def schemes(self) -> tuple[str, ...]:
        """The security schemes of which one is needed."""

    @property
    def problems(self) -> tuple[type[BrokerError], ...]:
        """With what it refuses."""

    async def admit(self, gate: Gate, request: Request[Any, Any, Any]) -> C_co: ...


@dataclass(frozen=True, slots=True)
class Everyone:
    """Anyone may call; a door authenticates its sender by itself."""

    schemes: tuple[str, ...] = ()
    problems: tuple[type[BrokerError], ...] = ()

    async def admit(self, gate: Gate, request: Request[Any, Any, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class KeyOf:
    """A key of one role."""

    role: Role
    schemes: tuple[str, ...] = (API_KEY,)
    problems: tuple[type[BrokerError], ...] = (Unauthenticated, Forbidden, LedgerUnavailable)

    async def admit(self, gate: Gate, request: Request[Any, Any, Any]) -> ApiKey:
        return await gate.api_key(bearer(request), self.role)


@dataclass(frozen=True, slots=True)
class SessionOfKey:
    """The session in the path, for the principal that minted it, if its key has the role, or an admin."""

    role: Role = Role.MINT
    schemes: tuple[str, ...] = (API_KEY,)
    problems: tuple[type[BrokerError], ...] = (Unauthenticated, Forbidden, SessionNotFound, LedgerUnavailable)

    async def admit(self, gate: Gate, request: Request[Any, Any, Any]) -> Session:
        return await gate.session_of_key(bearer(request), request.path_params["session_id"], self.role)


@dataclass(frozen=True, slots=True)
class SessionOfBearer:
    """The session in the path, for its principal, an admin, or whoever holds its token."""

    schemes: tuple[str, ...] = (API_KEY, SESSION_TOKEN)
    problems: tuple[type[BrokerError], ...] = (Unauthenticated, Forbidden, SessionNotFound, LedgerUnavailable)

    async def admit(self, gate: Gate, request: Request[Any, Any, Any]) -> Session:
        text, session_id = bearer(request), request.path_params["session_id"]
        if text.startswith(_TOKEN_PREFIX):
            return await gate.session_of_token(text, session_id)
        return await gate.session_of_key(text, session_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A session, and by whose right its caller sees it."""

    session: Session
    key_id: str  # the caller's own key, or the one that minted what his token opens
    generation: int  # of that key
    ends_at: datetime | None  # of the token, if he came with one


@dataclass(frozen=True, slots=True)
class VisitOfBearer:
    """The session in the path as for `SessionOfBearer`, for a caller who stays."""

    schemes: tuple[str, ...] = (API_KEY, SESSION_TOKEN)
    problems: tuple[type[BrokerError], ...] = (Unauthenticated, Forbidden, SessionNotFound, LedgerUnavailable)

    async def admit(self, gate: Gate, request: Request[Any, Any, Any]) -> Visit:
        text, session_id = bearer(request), request.path_params["session_id"]
        if text.startswith(_TOKEN_PREFIX):
            session = await gate.session_of_token(text, session_id)
            facts, generation = session.facts, gate.tokens.generation_in(text)
            return Visit(session=session, key_id=facts.principal, generation=generation, ends_at=facts.expires_at)
        session, api_key = await gate.session_of_key(text, session_id), await gate.api_key(text, Role.MINT)
        return Visit(session=session, key_id=api_key.id, generation=api_key.generation, ends_at=None)


def bearer(request: Request[Any, Any, Any]) -> str:
    """RFC 6750 section 2.1; the scheme's name in any case (RFC 9110 section 11.1).

    :raises Unauthenticated:
    """
    scheme, _, credentials = request_headers(request.scope).get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer":
        raise Unauthenticated
    return credentials.strip().decode("latin-1")
