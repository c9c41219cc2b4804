"""Watch: what becomes of one session, step by step, for whoever listens.

A listener is only told that its session may have moved; what happened stands in the record, and is read there. So no
step is missed or told twice, however late, often or seldom somebody rings.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec
from msgspec import UNSET

from broker.contract import SessionEvent
from broker.domain.errors import LedgerUnavailable
from broker.domain.sessions import Session, is_final
from broker.ports import Buckets, Clock, Listener, Sessions

HEARTBEAT = timedelta(seconds=15)  # WHATWG HTML section 9.2.7: "a comment line every 15 seconds or so"
AGAIN = timedelta(seconds=2)  # for a ledger that did not answer


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """Perhaps nothing, which is a sign of life. `is_last`: there will be no more."""

    events: list[SessionEvent] = field(default_factory=list)
    is_last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    sessions: Sessions
    buckets: Buckets
    clock: Clock
    heartbeat: timedelta = HEARTBEAT

    async def __call__(
        self, session_id: str, listener: Listener, *, after: datetime, until: datetime
    ) -> AsyncGenerator[News, None]:
        """The steps later than `after`, then each new one. Ends with the session, when `listener` must leave, or at
        `until`. A ledger that falls silent later on is asked again; nobody has to come back for that.

        :raises LedgerUnavailable: before the first news only.
        """
        news, is_known = await self._news(session_id, after), True
        while True:
            yield news
            left = until - self.clock.now()
            if news.is_last or listener.is_over or left <= timedelta():
                return
            after = news.events[-1].at if news.events else after
            is_rung = await listener.wait(min(self.heartbeat if is_known else AGAIN, left))
            news = News()
            if is_rung or not is_known:
                try:
                    news, is_known = await self._news(session_id, after), True
                except LedgerUnavailable:
                    is_known = False

    async def _news(self, session_id: str, after: datetime) -> News:
        session = await self.sessions.get(session_id)
        if session is None:
            return News(is_last=True)
        bucket = self.buckets.get(session.facts.destination)
        is_last = is_final(session.state, bucket.destination if bucket else None)
        return News(events=_events(session, after, is_last=is_last), is_last=is_last)


def _events(session: Session, after: datetime, *, is_last: bool) -> list[SessionEvent]:
    """`at` grows with every step of a session, so it tells what is new."""
    steps = [
        SessionEvent(id=session.id, state=step.state, at=step.at, epoch=step.epoch, is_final=False)
        for step in session.timeline
        if step.at > after
    ]
    if steps:
        steps[-1] = _present(session, steps[-1], is_last=is_last)
    return steps


def _present(session: Session, step: SessionEvent, *, is_last: bool) -> SessionEvent:
    """Where it stands now, with all that the record knows of it."""
    facts = session.facts
    result = msgspec.Raw(facts.result) if facts.result else UNSET
    return msgspec.structs.replace(step, is_final=is_last, reason=facts.reason or UNSET, result=result)
