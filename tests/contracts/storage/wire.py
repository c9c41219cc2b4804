"""Requests spelled by hand, and sent without what a client would add or mend by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import yarl

from broker.contract import SignedRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A request as it goes out: what was signed, or a neighbour of it."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


class Send:
    """Sends a request exactly as spelled, without what a client would add or mend by itself."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def __call__(self, wire: Wire) -> Reply:
        async with self._http.request(
            wire.method,
            yarl.URL(wire.url, encoded=True),
            headers=wire.headers,
            data=wire.body or None,
            skip_auto_headers=["content-type", "accept-encoding", "user-agent"],
            allow_redirects=False,
        ) as response:
            return Reply(
                status=response.status,
                headers={name.lower(): value for name, value in response.headers.items()},
                body=await response.read(),
            )

    async def put(self, request: SignedRequest, body: bytes) -> Reply:
        return await self(as_signed(request, body))


def as_signed(request: SignedRequest, body: bytes = b"") -> Wire:
    return Wire(method=request.method, url=request.url, headers=dict(request.headers), body=body)


async def send_raw(request: SignedRequest, headers: dict[str, str], body: bytes) -> int:
    """The status of the answer to a request whose framing no client would write; closes afterwards."""
    async with _written(request, headers, body) as (reader, _):
        head = await reader.readline()
        return int(head.split()[1])


async def break_off(request: SignedRequest, headers: dict[str, str], body: bytes) -> None:
    """Ends in the middle, and waits until the store has noticed and hung up."""
    async with _written(request, headers, body) as (reader, writer):
        writer.write_eof()
        await reader.read()


@asynccontextmanager
async def _written(
    request: SignedRequest, headers: dict[str, str], body: bytes
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    parts = urlsplit(request.url)
    lines = [f"{request.method} {parts.path}?{parts.query} HTTP/1.1", f"host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in {**request.headers, **headers}.items()]
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            await writer.drain()
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
