"""Mailboxes, counted from outside: what was lent, what became of it, how late it was, which calls failed."""

from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import TypeVar

from prometheus_client import Counter, Histogram

from broker.domain.errors import BrokerError
from broker.ports import Clock, Collected, Collecting, Deletion, Mailbox, Message
from broker.telemetry.metrics import Metrics

T = TypeVar("T")

LAG_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 21_600, 86_400)
FATES = ("received", "received_again", "deleted", "undeleted", "released", "poison_kept", "poison_deleted")


class MailboxMetrics:
    """:param sources: the configured names of mailboxes, the only ones that ever become labels."""

    def __init__(self, metrics: Metrics, sources: Iterable[str]) -> None:
        self.all = metrics
        registry, sources = metrics.registry, tuple(sources)
        self.messages = Counter(
            "broker_source_messages_total", "Messages of a queue.", ("source", "fate"), registry=registry
        )
        self.lag = Histogram(
            "broker_source_lag_seconds",
            "From a message's being sent (the queue's clock) to its being recorded.",
            ("source",),
            buckets=LAG_BUCKETS,
            registry=registry,
        )
        self.calls = Counter(
            "broker_source_calls_total", "Calls to a queue.", ("source", "call", "outcome"), registry=registry
        )
        for source, fate in product(sources, FATES):
            self.messages.labels(source, fate)
            self.lag.labels(source)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedMailbox:
    source: str
    mailbox: Mailbox
    metrics: MailboxMetrics

    @property
    def loan(self) -> timedelta:
        return self.mailbox.loan

    async def receive(self) -> Sequence[Message]:
        messages = await self._counted("receive", self.mailbox.receive())
        self._count("received", len(messages))
        self._count("received_again", sum(message.deliveries > 1 for message in messages))
        return messages

    async def delete(self, messages: Sequence[Message]) -> Deletion:
        deletion = await self._counted("delete", self.mailbox.delete(messages))
        undeleted = len(deletion.again) + len(deletion.lost)
        self._count("deleted", len(messages) - undeleted)
        self._count("undeleted", undeleted)
        return deletion

    async def release(self, messages: Sequence[Message]) -> None:
        await self._counted("release", self.mailbox.release(messages))
        self._count("released", len(messages))

    async def has_redrive(self) -> bool:
        return await self._counted("attributes", self.mailbox.has_redrive())

    async def _counted(self, call: str, answer: Awaitable[T]) -> T:
        outcome = "cut-off"
        try:
            told = await answer
            outcome = "ok"
        except BrokerError as trouble:
            outcome = trouble.code
            raise
        finally:
            self.metrics.calls.labels(self.source, call, outcome).inc()
        return told

    def _count(self, fate: str, count: int) -> None:
        self.metrics.messages.labels(self.source, fate).inc(count)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedCollect:
    source: str
    collect: Collecting
    metrics: MailboxMetrics
    clock: Clock

    async def __call__(self, messages: Sequence[Message]) -> Collected:
        collected = await self.collect(messages)
        self.metrics.all.noticed(self.source, collected.receipt)
        is_deleted = len(collected.done) == len(messages)
        fate = "poison_deleted" if is_deleted else "poison_kept"
        self.metrics.messages.labels(self.source, fate).inc(len(collected.poison))
        now, lag = self.clock.now(), self.metrics.lag.labels(self.source)
        for sent_at in (message.sent_at for message in messages if message.sent_at):
            lag.observe(max((now - sent_at).total_seconds(), 0.0))
        return collected
