"""Traces by OpenTelemetry: from the mint through its looks to the consumer, whoever of these runs where.

The context travels as W3C Trace Context ("traceparent"): in with a request, then in the session's record, out with its
job. Off – no exporter is configured – it still travels, and nothing else happens. What an attribute tells is what a log
line tells: ids, states, codes; never an address that is signed, a key or a token.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from broker.domain.errors import BrokerError

Attributes = Mapping[str, str | int]

# W3C Trace Context, section 3.2.2. Of a version to come we would not know what follows: its trace begins anew.
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
# What the caller of the present request sent; the standard library wants it at the module's level.
_GIVEN: ContextVar[str] = ContextVar("given", default="")


class Tracing:
    """:param tracer: where spans go; None: nowhere."""

    def __init__(self, tracer: trace.Tracer | None = None) -> None:
        self._tracer = tracer

    @property
    def is_on(self) -> bool:
        return self._tracer is not None

    def receive(self, sent: bytes | None) -> str:
        """What came with a request; empty if it is not what the standard says."""
        given = ""
        if sent is not None and _TRACEPARENT.fullmatch(text := sent.decode("latin-1")):
            given = text
        _GIVEN.set(given)
        return given

    def here(self) -> str:
        """A `Trace`: of the span that is recorded now, else of the caller."""
        if self._tracer is not None and (span := trace.get_current_span()).is_recording():
            return traceparent_of(span)
        return _GIVEN.get()

    @contextmanager
    def request(self) -> Iterator[Span | None]:
        """A span of the request at hand, a child of what its caller sent. None while tracing is off."""
        if self._tracer is None:
            yield None
            return
        context = trace.set_span_in_context(NonRecordingSpan(_context_of(_GIVEN.get())))
        with self._tracer.start_as_current_span(
            "request", context=context, kind=SpanKind.SERVER, record_exception=False
        ) as span:
            yield span

    def continued(self, name: str, traceparent: str, attributes: Attributes) -> AbstractContextManager[Span | None]:
        """A span of what was begun there: its child, or within another span this one's child with a link to there.

        None where nobody follows either.
        """
        if self._tracer is None:
            return nullcontext()
        return self._continued(self._tracer, name, traceparent, attributes)

    @contextmanager
    def _continued(
        self, tracer: trace.Tracer, name: str, traceparent: str, attributes: Attributes
    ) -> Iterator[Span | None]:
        is_within = trace.get_current_span().is_recording()
        if not (traceparent or is_within):
            yield None
            return
        begun = _context_of(traceparent)
        links = [Link(begun)] if is_within and begun.is_valid else []
        context = None if is_within else trace.set_span_in_context(NonRecordingSpan(begun))
        with tracer.start_as_current_span(
            name, context=context, links=links, attributes=attributes, record_exception=False
        ) as span:
            yield span

    def step(
        self, name: str, attributes: Attributes, kind: SpanKind = SpanKind.INTERNAL
    ) -> AbstractContextManager[None]:
        """A part of the span that is recorded now; nothing where none is. Our errors are told by their codes."""
        if self._tracer is None or not trace.get_current_span().is_recording():
            return nullcontext()
        return self._step(self._tracer, name, attributes, kind)

    @contextmanager
    def _step(self, tracer: trace.Tracer, name: str, attributes: Attributes, kind: SpanKind) -> Iterator[None]:
        with tracer.start_as_current_span(
            name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BrokerError as trouble:
                span.set_status(Status(StatusCode.ERROR, trouble.code))
                raise


def traceparent_of(span: Span) -> str:
    at = span.get_span_context()
    return f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}"


def trace_id_of(traceparent: str) -> str:
    return traceparent[3:35]


def _context_of(traceparent: str) -> SpanContext:
    """Invalid where the text is none of ours: an old or foreign record must not stop a look."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return trace.INVALID_SPAN_CONTEXT
    return SpanContext(int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=TraceFlags(int(match[3], 16)))
