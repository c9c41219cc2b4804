"""What a store answers: read to its end, so that the connection can be used again, and no more than was asked for."""

import aiohttp

from broker.domain.errors import StoreUnavailable


async def whole(response: aiohttp.ClientResponse, *, at_most_bytes: int) -> bytes:
    """:raises StoreUnavailable: it is more."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > at_most_bytes:
            raise StoreUnavailable("the store answers more than anybody asked for")
    return bytes(body)
