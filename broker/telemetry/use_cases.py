"""Looks and notifications, counted and traced from outside: what was decided is read off what came back."""

from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass

from broker.contract import NotificationReceipt, State
from broker.domain.errors import NotAuthentic
from broker.domain.sessions import Session
from broker.logs import about
from broker.ports import DueLook, Envelope, Looked, Looking
from broker.telemetry.metrics import Metrics
from broker.telemetry.tracing import Tracing, trace_id_of

Notifying = Callable[[str, Envelope], Awaitable[NotificationReceipt]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedLook:
    look: Looking
    metrics: Metrics
    tracing: Tracing

    async def __call__(self, due: DueLook) -> Looked:
        traceparent = due.session.facts.traceparent if due.session else ""
        words = {"upload.session_id": due.id, "upload.destination": due.destination}
        with about(**_names(due, traceparent)), self.tracing.continued("look", traceparent, words) as span:
            looked = await self.look(due)
            result = _result(due.session, looked.session)
            if span is not None:
                span.set_attribute("upload.result", result)
        self.metrics.looked(due.destination, result)
        return looked


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedNotify:
    """:param sources: those that are configured; what a stranger made up is no label."""

    notify: Notifying
    sources: Container[str]
    metrics: Metrics

    async def __call__(self, source: str, envelope: Envelope) -> NotificationReceipt:
        try:
            receipt = await self.notify(source, envelope)
        except NotAuthentic:
            if source in self.sources:
                self.metrics.refused(source)
            raise
        self.metrics.noticed(source, receipt)
        return receipt


def _names(due: DueLook, traceparent: str) -> dict[str, str]:
    """What its log lines are about."""
    return {"session_id": due.id, "trace_id": trace_id_of(traceparent)} if traceparent else {"session_id": due.id}


def _result(before: Session | None, after: Session | None) -> str:
    if after is None:
        return "unknown"
    if after.facts.is_removed and not (before and before.facts.is_removed):
        return "removed"
    state = before.state if before else State.PENDING
    return "waiting" if after.state is state else after.state.value
