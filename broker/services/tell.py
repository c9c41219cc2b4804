"""Tell: each webhook hears each event that it wants at least once, and of one session in order."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.domain.errors import LedgerUnavailable
from broker.domain.sessions import Session
from broker.domain.webhooks import (
    Attempt,
    Outcome,
    Webhook,
    again_at,
    headers_of,
    is_delivered,
    message_id,
    pause_of,
    payload,
    type_of,
)
from broker.ports import Answer, Clock, Deliveries, Delivery, Event, Events, Outbox, Sender, Sessions

_log = logging.getLogger("broker.webhooks")

PAGE = 500  # ours: what one script remembers
FORGOTTEN = Answer(error="forgotten")  # its record or its event is gone
UNWANTED = Answer(error="unwanted")


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOut:
    """From the stream into the queues. Any number of relays may run: one of them moves the cursor."""

    events: Events
    sessions: Sessions
    outbox: Outbox
    clock: Clock

    async def __call__(self, webhook: Webhook, shard: int) -> int:
        """One page. How many events it held; 0 when there are none, or another relay was faster."""
        after = await self.outbox.cursor(shard, webhook.name)
        page: list[Event] = []
        async for event in self.events.read(shard, after):
            page.append(event)
            if len(page) == PAGE:
                break
        if not page:
            return 0
        wanted = await self.wanted(webhook, page)
        now, to = self.clock.now(), page[-1].cursor
        is_ours = await self.outbox.fan_out(shard, webhook.name, wanted, after=after, to=to, now=now)
        return len(page) if is_ours else 0

    async def wanted(self, webhook: Webhook, events: Sequence[Event]) -> list[Event]:
        """Those that this webhook asked for. Of a session that is gone nobody knows: it hears nothing."""
        found = [event for event in events if type_of(event.state, event.epoch) in webhook.types]
        if not found or not webhook.is_choosy:
            return found
        sessions = await self._sessions_of(found)
        return [event for event in found if event.id not in sessions or _is_wanted(webhook, sessions[event.id])]

    async def _sessions_of(self, events: Sequence[Event]) -> dict[str, Session | None]:
        """Without those whose record cannot be read: one of them must not stop a webhook. `Tell` will ask again."""
        ids = [event.id for event in events]
        try:
            return dict(zip(ids, await self.sessions.get_many(ids), strict=True))
        except LedgerUnavailable as trouble:
            found: dict[str, Session | None] = {}
            for session_id in ids:
                with suppress(LedgerUnavailable):
                    found[session_id] = await self.sessions.get(session_id)
            if not found:
                raise trouble
            return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How a delivery went on."""

    has_next: bool = False  # the session's next is due now
    pause: timedelta | None = None  # the endpoint wants to be left alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """One attempt to tell one webhook one event.

    :param timeout: the sender's own; a claim that ends sooner is not begun.
    """

    webhook: Webhook
    sender: Sender
    deliveries: Deliveries
    clock: Clock
    timeout: timedelta
    dice: Callable[[], float] = random.random

    async def __call__(self, delivery: Delivery) -> Told:
        now = self.clock.now()
        if now + self.timeout > delivery.until:
            return Told()  # we slept: somebody else may have claimed it, and gone on
        began = time.monotonic()
        answer = await self._send(delivery, now)
        taken_ms = round((time.monotonic() - began) * 1_000)
        pause = pause_of(answer.status, answer.retry_after)
        again = self._again_at(delivery, answer, pause)
        attempt = self._attempt(delivery, answer, again, taken_ms)
        self._say(attempt)
        has_next = await self.deliveries.settle(delivery, attempt, again_at=again)
        return Told(has_next=has_next, pause=pause)

    async def _send(self, delivery: Delivery, now: datetime) -> Answer:
        event, session = delivery.event, delivery.session
        if event is None or session is None or type_of(event.state, event.epoch) is None:
            return FORGOTTEN
        if not self.webhook.wants(session):
            return UNWANTED
        body = payload(session, state=event.state, epoch=event.epoch, at=event.at, reason=event.reason)
        webhook_id = message_id(delivery.id, delivery.cursor)
        return await self.sender.post(body, headers_of(self.webhook.keys, webhook_id, body, now))

    def _again_at(self, delivery: Delivery, answer: Answer, pause: timedelta | None) -> datetime | None:
        if answer in {FORGOTTEN, UNWANTED} or is_delivered(answer.status):
            return None
        return again_at(delivery.attempt, since=delivery.since, now=self.clock.now(), dice=self.dice(), pause=pause)

    def _attempt(self, delivery: Delivery, answer: Answer, again: datetime | None, taken_ms: int) -> Attempt:
        event = delivery.event
        return Attempt(
            at=self.clock.now(),
            webhook_id=message_id(delivery.id, delivery.cursor),
            session_id=delivery.id,
            cursor=delivery.cursor,
            type=(type_of(event.state, event.epoch) if event else None) or "",
            attempt=delivery.attempt,
            outcome=_outcome(answer, again),
            status=answer.status,
            error=answer.error,
            duration_ms=taken_ms,
        )

    def _say(self, attempt: Attempt) -> None:
        level = logging.INFO if attempt.outcome == "delivered" else logging.WARNING
        extra = {
            "webhook": self.webhook.name,
            "session_id": attempt.session_id,
            "type": attempt.type,
            "attempt": attempt.attempt,
            "status": attempt.status,
            "error": attempt.error,
        }
        _log.log(level, f"webhook.{attempt.outcome}", extra=extra)


def _is_wanted(webhook: Webhook, session: Session | None) -> bool:
    return session is not None and webhook.wants(session)


def _outcome(answer: Answer, again: datetime | None) -> Outcome:
    if answer in {FORGOTTEN, UNWANTED}:
        return "dropped"
    if is_delivered(answer.status):
        return "delivered"
    return "given-up" if again is None else "failed"
