"""Ways to end a request badly: a refusal that stays readable, no answer at all, a TCP reset.

An operation raises `Disconnect` or `Reset`; the handler catches it and calls `hang_up`. A refusal while the body is
still under way goes through `refuse`.
"""

import asyncio
import socket
from contextlib import suppress
from typing import Final

from aiohttp import web

MAX_DISCARDED_BYTES: Final = 64 * 2**20
MAX_DISCARD_SECONDS: Final = 5.0


class Disconnect(Exception):
    """The connection ends now, without an answer: the client left, or a fault says so."""


class Reset(Disconnect):
    """The connection ends with a TCP reset."""


async def refuse(http: web.BaseRequest, response: web.Response) -> web.Response:
    """Answer, while the body may still be under way, then swallow some of the rest.

    To close at once would reset the connection, and the client would lose the answer with it. A client that waits
    for `100 Continue` has sent nothing yet: its connection just ends.
    """
    if http.content.is_eof():
        return response
    response.force_close()
    await response.prepare(http)
    await response.write_eof()
    if http.transport is not None and http.transport.can_write_eof():
        http.transport.write_eof()
    discarded = 0
    with suppress(TimeoutError, ConnectionError, web.RequestPayloadError):
        async with asyncio.timeout(MAX_DISCARD_SECONDS):
            while discarded < MAX_DISCARDED_BYTES and (data := await http.content.readany()):
                discarded += len(data)
    return response


def hang_up(http: web.BaseRequest, how: Disconnect) -> web.StreamResponse:
    """No answer. aiohttp wants a response object all the same; nothing of it reaches the wire.

    To raise instead would fill the log with tracebacks of what was asked for.
    """
    if http.transport is not None:
        if isinstance(how, Reset):
            _reset(http.transport)
        else:
            http.transport.close()
    return web.Response()


def _reset(transport: asyncio.Transport | asyncio.WriteTransport) -> None:
    """Close so that the other side gets RST instead of FIN: lingering for zero seconds does that."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    transport.abort()
