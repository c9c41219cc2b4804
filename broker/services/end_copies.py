"""End copies: the owner of a fan-out gives it up, or wants its bytes gone. In one step it ends with all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from broker.domain.errors import CompletionInProgress, Overloaded, UnknownDestination
from broker.domain.policy import Destination
from broker.domain.sessions import Change, Session, is_completing
from broker.ports import Buckets, Clock, Sessions
from broker.services.again import read_again

_TRIES = 20  # a lost race means that a copy was written meanwhile

EndCopy = Callable[[Session, Destination, datetime], Change | None]
EndAll = Callable[[Session, Sequence[Session], Destination, datetime], Change]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndCopies:
    buckets: Buckets
    sessions: Sessions
    clock: Clock

    async def __call__(self, session: Session, *, of_copy: EndCopy, of_all: EndAll) -> Session:
        """The fan-out afterwards.

        :param of_copy: what it means for a copy, or nothing.
        :param of_all: what it means for the fan-out, given its copies as they then are; raises what stands against it.
        :raises CompletionInProgress: the parts of a copy are being put together.
        :raises UnknownDestination: nobody here can end a copy there.
        """
        for _ in range(_TRIES):
            now, ended = self.clock.now(), list[Change]()
            of_all(session, [], self._place(session.facts.destination), now)
            ids = [copy.id for copy in session.facts.copies if copy.id]
            for copy in [copy for copy in await self.sessions.get_many(ids) if copy is not None]:
                if is_completing(copy, now):
                    raise CompletionInProgress
                change = of_copy(copy, self._place(copy.facts.destination), now)
                if change is not None:
                    ended.append(change)
            whole = of_all(session, [each.after for each in ended], self._place(session.facts.destination), now)
            if await self.sessions.apply(whole, *ended):
                return whole.after
            session = await read_again(self.sessions, session.id)
        raise Overloaded("the copies of this session change at this moment; try again")

    def _place(self, name: str) -> Destination:
        bucket = self.buckets.get(name)
        if bucket is None:
            raise UnknownDestination("a destination of this session is no longer configured")
        return bucket.destination
