"""Small public pages, over TLS that is verified: no redirect, no proxy of the environment, no cookie, no waiting.

Which addresses may be called at all is the caller's business. They are not kept from leading to private addresses: a
service of AWS is reached by a private one where a VPC endpoint serves it, and proves itself by its certificate there.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp
from yarl import URL

from broker import __version__
from broker.domain.errors import SenderUnavailable
from broker.outbound.resolver import OwnResolver

TIMEOUT = timedelta(seconds=5)  # ours: well within the 15 s that SNS waits for an answer
CONNECTIONS = 4

# RFC 9110 section 15.5: what is the caller's own fault. Not these two, which pass.
_PASSING = {408, 429}


class HttpPages:
    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def get(self, url: str, *, at_most_bytes: int) -> bytes | None:
        try:
            async with self._http.get(URL(url, encoded=True), allow_redirects=False) as response:
                if 400 <= response.status < 500 and response.status not in _PASSING:
                    return None
                if response.status != 200:
                    raise SenderUnavailable(f"the sender's host answered {response.status}")
                return await _read(response.content, at_most_bytes)
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise SenderUnavailable(f"the sender's host does not answer: {type(exc).__name__}") from exc


@asynccontextmanager
async def open_pages(*, timeout: timedelta = TIMEOUT) -> AsyncIterator[HttpPages]:
    """:param timeout: for everything from looking the name up to the last byte."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, resolver=OwnResolver()),
        timeout=aiohttp.ClientTimeout(total=timeout.total_seconds()),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        headers={"User-Agent": f"upload-broker/{__version__}"},
    ) as http:
        yield HttpPages(http)


async def _read(content: aiohttp.StreamReader, at_most_bytes: int) -> bytes | None:
    """None when there is more: then it is not what it should be."""
    page = b""
    while chunk := await content.read(at_most_bytes + 1 - len(page)):
        page += chunk
        if len(page) > at_most_bytes:
            return None
    return page
