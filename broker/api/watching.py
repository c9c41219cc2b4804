"""Around the whole of the broker: each request is timed by its operation and status, and named in its log lines.

A thin ASGI application, so that answers which no handler gave – no such route, no such method – count, too.
What it costs a request is in docs/decisions/0007.
"""

from time import perf_counter

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from broker.api.answers import answer_of, request_id
from broker.logs import begin
from broker.telemetry.metrics import Metrics

NO_OPERATION = "none"


def watched(app: ASGIApp, metrics: Metrics) -> ASGIApp:
    async def watch(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        began = perf_counter()
        scope.setdefault("state", {})
        begin(request_id=request_id(scope))
        try:
            await app(scope, receive, send)
        finally:
            status, at = answer_of(scope)
            metrics.answered(_operation(scope), status, at - began)

    return watch


def _operation(scope: Scope) -> str:
    """By the route that was found: the path is the caller's choice."""
    handler = scope.get("route_handler")
    operation = handler.opt.get("operation") if handler else None
    return operation.id if operation else NO_OPERATION
