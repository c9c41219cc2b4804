"""Sends a request exactly as it is spelled, as somebody would who has nothing but what was signed.

A plain HTTP client of its own: no credential, no cookie, no redirect, no header that nobody asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Self

import aiohttp
import yarl

from broker.contract import SignedRequest
from broker.domain.errors import StoreUnavailable
from broker.storage.s3 import xml

MAX_ANSWER_BYTES = 65_536  # ours: what is read here is a probe or an error document


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request as it goes out: what was signed, or a neighbour of it."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""

    @classmethod
    def of(cls, request: SignedRequest, body: bytes = b"") -> Self:
        return cls(method=request.method, url=request.url, headers=request.headers, body=body)

    def with_headers(self, headers: Mapping[str, str]) -> Self:
        return replace(self, headers={**self.headers, **headers})

    def __repr__(self) -> str:
        """Whoever knows the URL may do what it permits."""
        return f"Sent(method={self.method!r}, url=***)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def code(self) -> str:
        """The store's own word for an error; empty where it has none."""
        return xml.error_code(self.body) if self.status >= 300 else ""

    @property
    def said(self) -> str:
        return f"{self.status} {self.code}".strip()

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_refusal(self) -> bool:
        """A store may also say 501 of what it does not know; it did not do it then, either."""
        return 400 <= self.status < 500 or self.status == 501

    @property
    def date(self) -> datetime | None:
        try:
            return parsedate_to_datetime(self.headers["date"])
        except (KeyError, ValueError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    http: aiohttp.ClientSession
    timeout: timedelta = timedelta(seconds=30)

    async def send(self, sent: Sent) -> Reply:
        """:raises StoreUnavailable: no answer, or none that ends."""
        try:
            return await self._send(sent)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            # The class alone: the message may hold the URL.
            raise StoreUnavailable(f"the store does not answer ({type(exc).__name__})") from None

    async def _send(self, sent: Sent) -> Reply:
        async with self.http.request(
            sent.method,
            yarl.URL(sent.url, encoded=True),
            headers=dict(sent.headers),
            data=sent.body or None,
            skip_auto_headers=("content-type", "accept-encoding", "user-agent"),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=self.timeout.total_seconds()),
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Reply(status=response.status, headers=headers, body=await _beginning(response))


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) >= MAX_ANSWER_BYTES:
            break
    return bytes(body)
