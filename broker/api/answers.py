"""What a handler gives back: bytes that are ready, sent in two messages.

Litestar's `Response` merges layers of headers, cookies and encoders into each answer, which costs more than all the
rest of a small request (docs/decisions/0002). An `Answer` is an ASGI application that only sends.
"""

import re
from collections.abc import Sequence
from random import getrandbits
from time import perf_counter
from typing import Any

import msgspec
from litestar.types import Receive, Scope, Send

Headers = Sequence[tuple[bytes, bytes]]

JSON = b"application/json"
# RFC 9110 section 5.5: visible ASCII; anything else could split a header or a log line.
_SANE_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
# Answers carry signed requests, tokens and leases: RFC 9111 section 5.2.2.5.
NO_STORE = (b"cache-control", b"no-store")

_ANSWERED, _HEADERS = "answered", "headers"

_encode = msgspec.json.Encoder().encode


class Answer:
    """One answer, complete."""

    __slots__ = ("body", "headers", "media_type", "status")

    def __init__(self, status: int, body: bytes = b"", *, media_type: bytes = JSON, headers: Headers = ()) -> None:
        self.status = status
        self.body = body
        self.media_type = media_type
        self.headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the ASGI signature
        headers = [
            (b"content-type", self.media_type),
            (b"content-length", b"%d" % len(self.body)),
            (b"x-request-id", request_id(scope).encode()),
            NO_STORE,
            *self.headers,
        ]
        body = b"" if scope["method"] == "HEAD" else self.body  # type: ignore[typeddict-item]
        note_answer(scope, self.status)
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def json_answer(status: int, content: Any, *, headers: Headers = ()) -> Answer:
    """:param content: a Struct of `broker.contract`."""
    return Answer(status, _encode(content), headers=headers)


def redirect(url: str) -> Answer:
    """303 See Other: whatever the method was, GET that URL."""
    return Answer(303, media_type=b"text/plain", headers=((b"location", url.encode("ascii")),))


def note_answer(scope: Scope, status: int) -> None:
    """The answer begins now. Cheaper than a `send` that looks at each message."""
    scope["state"][_ANSWERED] = (status, perf_counter())


def answer_of(scope: Scope) -> tuple[int, float]:
    """Status of the answer, and when it began; 0, and now, where none did: the caller hung up, or the process ends."""
    found: tuple[int, float] = scope["state"].get(_ANSWERED) or (0, perf_counter())
    return found


def request_headers(scope: Scope) -> dict[bytes, bytes]:
    """Names in lower case, as ASGI guarantees; of a repeated header the last one. Made once a request."""
    known: dict[bytes, bytes] | None = scope["state"].get(_HEADERS)
    if known is None:
        known = scope["state"][_HEADERS] = dict(scope["headers"])
    return known


def request_id(scope: Scope) -> str:
    """The caller's `X-Request-Id` if it is sane, else a fresh one; the same for the whole request."""
    state = scope["state"]
    known = state.get("request_id")
    if known is None:
        given = request_headers(scope).get(b"x-request-id", b"")
        known = given.decode("ascii") if _SANE_REQUEST_ID.fullmatch(given) else _fresh_request_id()
        state["request_id"] = known
    return str(known)


def _fresh_request_id() -> str:
    """It names a request and guards nothing, so it need not cost a system call."""
    return f"{getrandbits(64):016x}"
