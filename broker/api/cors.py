"""Lets the pages of named origins read what the broker answers: the CORS protocol of the Fetch standard, section 3.2.

A thin ASGI application around the whole of the broker, so that every answer is readable, problems included. Nobody is
named by default, and then it is not there at all. An origin that is not named gets the plain answer, which its browser
hides. No credentials mode: the broker knows no cookies, a page carries its session's token in `Authorization`.
"""

from collections.abc import Sequence

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from broker.api.answers import Headers
from broker.api.operations import LAST_EVENT_ID, LOCATION, OPERATIONS, REPLAYED, RETRY_AFTER

ANY_ORIGIN = "*"
REQUEST_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id", LAST_EVENT_ID)
EXPOSED = (RETRY_AFTER, LOCATION, "X-Request-Id", REPLAYED)
METHODS = sorted({operation.method for operation in OPERATIONS} | {"HEAD"})
MAX_AGE_SECONDS = 7_200  # Chromium remembers a preflight for two hours at most

_BY_ORIGIN = (b"vary", b"Origin")  # RFC 9110 section 12.5.5: a cache must not give one origin the answer of another
_PERMITTED: Headers = (
    (b"access-control-allow-methods", ", ".join(METHODS).encode()),
    (b"access-control-allow-headers", ", ".join(REQUEST_HEADERS).encode()),
    (b"access-control-max-age", b"%d" % MAX_AGE_SECONDS),
)
_READABLE = (b"access-control-expose-headers", ", ".join(EXPOSED).encode())


def share_with(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """:param origins: as browsers send them, `https://app.example`; `*` is every origin. None: `app` itself."""
    return _Shared(app, origins) if origins else app


class _Shared:
    """What every answer to an origin says is made once; of a request one header is looked at."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._is_open = ANY_ORIGIN in origins
        self._others: Headers = () if self._is_open else (_BY_ORIGIN,)
        self._named = {origin.encode(): _allow(origin) for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        allow = self._allow(headers.get(b"origin"))
        if allow and scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await send({"type": "http.response.start", "status": 204, "headers": [*allow, *_PERMITTED]})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        added = (*allow, _READABLE) if allow else self._others

        async def send_readable(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        await self._app(scope, receive, send_readable)

    def _allow(self, origin: bytes | None) -> Headers:
        if origin is None:
            return ()
        return self._named.get(b"*" if self._is_open else origin, ())


def _allow(origin: str) -> Headers:
    allow = (b"access-control-allow-origin", origin.encode())
    return (allow,) if origin == ANY_ORIGIN else (allow, _BY_ORIGIN)
