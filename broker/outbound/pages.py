"""Small public pages, over TLS that is verified: no redirect, no proxy of the environment, no cookie, no waiting.

Which addresses may be called at all is the caller's business. They are not kept from leading to private addresses: a
service of AWS or Google is reached by a private one where an endpoint in one's own network serves it, and proves itself
by its certificate there.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp
from yarl import URL

from broker import __version__
from broker.domain.errors import SenderUnavailable
from broker.outbound.resolver import OwnResolver
from broker.ports import PublishedPage

TIMEOUT = timedelta(seconds=5)  # ours: well within the 15 s that SNS waits for an answer
CONNECTIONS = 4

# RFC 9110 section 15.5: what is the caller's own fault. Not these two, which pass.
_PASSING = {408, 429}
# RFC 9111 section 5.2.2: nothing that a cache shared by many would do matters here, so `s-maxage` is not read.
_MAX_AGE = re.compile(r'(?:^|[\s,])max-age\s*=\s*"?([0-9]{1,9})"?\s*(?:,|$)', re.IGNORECASE)
_NOT_KEPT = re.compile(r"(?:^|[\s,])no-(?:cache|store)\s*(?:[=,]|$)", re.IGNORECASE)


class HttpPages:
    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def get(self, url: str, *, at_most_bytes: int) -> PublishedPage | None:
        try:
            async with self._http.get(URL(url, encoded=True), allow_redirects=False) as response:
                if 400 <= response.status < 500 and response.status not in _PASSING:
                    return None
                if response.status != 200:
                    raise SenderUnavailable(f"the sender's host answered {response.status}")
                body = await _read(response.content, at_most_bytes)
                return None if body is None else PublishedPage(body=body, fresh_for=_fresh_for(response.headers))
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


def _fresh_for(headers: Mapping[str, str]) -> timedelta | None:
    """RFC 9111 section 4.2: what is left of its lifetime when it has waited in caches on its way."""
    control, age = headers.get("Cache-Control", ""), headers.get("Age", "")
    if _NOT_KEPT.search(control):
        return timedelta()
    lifetime = _MAX_AGE.search(control)
    if lifetime is None:
        return None
    waited = int(age) if age.isascii() and age.isdigit() and len(age) < 10 else 0
    return timedelta(seconds=max(int(lifetime[1]) - waited, 0))
