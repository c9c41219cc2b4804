"""A request body as the socket yields it."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from emulators.refusing import Disconnect


class Stalled(Exception):
    """Not one byte came for as long as we are willing to wait."""


async def arriving(http: web.BaseRequest, idle_seconds: float) -> AsyncIterator[bytes]:
    """Piece by piece: `readany` would join the pieces into one large copy.

    :raises Stalled: as it says.
    :raises Disconnect: when the client left before the end.
    """
    while not http.content.at_eof():
        try:
            async with asyncio.timeout(idle_seconds):
                data, _ = await http.content.readchunk()
        except TimeoutError as exc:
            raise Stalled from exc
        except (web.RequestPayloadError, ConnectionError) as exc:
            raise Disconnect from exc
        if data:
            yield data
