"""Joins an operation of the table to the code that does it."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from broker.api.auth import Gate
from broker.api.operations import Operation
from broker.domain.sessions import Session
from broker.logs import note

C = TypeVar("C")


def mount(
    gate: Gate, operation: Operation[C], handle: Callable[[Request[Any, Any, Any], C], Awaitable[ASGIApp]]
) -> HTTPRouteHandler:
    """A route that admits its caller first. No guard, no dependency: what they cost is in docs/decisions/0002.

    :param handle: its answer sends itself.
    """
    admit = operation.access.admit

    async def call(request: Request[Any, Any, Any]) -> ASGIApp:
        caller = await admit(gate, request)
        if isinstance(caller, Session):
            note(session_id=caller.id)
        return await handle(request, caller)

    # RFC 9110 section 9.3.2: HEAD is a GET without the content.
    methods = ["GET", "HEAD"] if operation.method == "GET" else [operation.method]
    route = HTTPRouteHandler(
        operation.path.replace("}", ":str}"),
        http_method=methods,  # type: ignore[arg-type]
        name=operation.id,
        status_code=operation.replies[0].status,
        opt={"operation": operation},
    )
    return route(call)
