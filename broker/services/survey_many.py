"""Survey many: where named sessions stand, by the ledger alone. No store is asked how far uploads in parts are."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from broker.domain.fan_out import destinations_of
from broker.domain.keys import is_session_id
from broker.domain.principals import ApiKey
from broker.domain.sessions import Session
from broker.ports import Sessions
from broker.services.turns import pieces

READ_AT_ONCE = 50  # ours: a record may hold a result of 64 KiB


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyMany:
    sessions: Sessions

    async def __call__(self, api_key: ApiKey, names: Sequence[str]) -> AsyncIterator[list[Session | None]]:
        """In the order asked for, some at a time. None where there is no session, or not for this key.

        :param names: any text; what cannot be an id never reaches the ledger.
        :raises LedgerUnavailable:
        """
        for piece in pieces(names, READ_AT_ONCE):
            ids = [name for name in piece if is_session_id(name)]
            found = dict(zip(ids, await self.sessions.get_many(ids), strict=True))
            yield [_seen(api_key, found.get(name)) for name in piece]


def _seen(api_key: ApiKey, session: Session | None) -> Session | None:
    if session is None or session.facts.copy_of:
        return None
    return session if api_key.may_see(session.facts.principal, destinations_of(session)) else None
