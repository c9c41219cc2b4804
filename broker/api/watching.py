"""Around the whole of the broker: each request is timed by its operation and status, and named in its log lines.

A thin ASGI application, so that answers which no handler gave – no such route, no such method – count, too.
What it costs a request is in docs/decisions/0007.
"""

from time import perf_counter
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from opentelemetry.trace import Span, StatusCode

from broker.api.answers import answer_of, request_headers, request_id
from broker.api.operations import LEASE, OPERATIONS, Operation
from broker.logs import begin, note
from broker.telemetry.metrics import Metrics
from broker.telemetry.tracing import Tracing, trace_id_of

NO_OPERATION = "none"


# Long polls and streams would be spans of minutes, and those who ask every few seconds whether we live nobody follows.
UNTRACED = frozenset({LEASE.path, *(operation.path for operation in OPERATIONS if operation.tag == "health")})
STREAMS = "/events"


def watched(app: ASGIApp, metrics: Metrics, tracing: Tracing) -> ASGIApp:
    async def traced(scope: Scope, receive: Receive, send: Send) -> None:
        with tracing.request() as span:
            note(trace_id=trace_id_of(tracing.here()))
            try:
                await app(scope, receive, send)
            finally:
                if span is not None:
                    _describe(span, scope)

    async def watch(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        began = perf_counter()
        scope.setdefault("state", {})
        given = tracing.receive(request_headers(scope).get(b"traceparent"))
        if given:
            begin(request_id=request_id(scope), trace_id=trace_id_of(given))
        else:
            begin(request_id=request_id(scope))
        is_traced = tracing.is_on and not (scope["path"] in UNTRACED or scope["path"].endswith(STREAMS))
        try:
            await (traced if is_traced else app)(scope, receive, send)
        finally:
            status, at = answer_of(scope)
            operation = _operation(scope)
            metrics.answered(operation.id if operation else NO_OPERATION, status, at - began)

    return watch


def _operation(scope: Scope) -> Operation[Any] | None:
    """By the route that was found: the path is the caller's choice."""
    handler = scope.get("route_handler")
    return handler.opt.get("operation") if handler else None


def _describe(span: Span, scope: Scope) -> None:
    """OpenTelemetry semantic conventions, "HTTP spans"; never the path, whose query may hold a token."""
    status, _ = answer_of(scope)
    if operation := _operation(scope):
        span.update_name(f"{operation.method} {operation.path}")
        span.set_attribute("http.route", operation.path)
    span.set_attribute("http.request.method", scope["method"])  # type: ignore[typeddict-item]
    span.set_attribute("http.response.status_code", status)
    span.set_attribute("broker.request_id", request_id(scope))
    if status >= 500 or not status:
        span.set_status(StatusCode.ERROR)
