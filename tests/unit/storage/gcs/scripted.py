"""A store that answers as it is told, shows exactly what it was sent, and hangs up after each answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import aiohttp

from broker.storage.gcs.caller import GcsCaller
from broker.storage.gcs.endpoint import Endpoint
from broker.storage.gcs.tokens import AccessToken

NOW = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


Answers = Callable[[Sent], bytes]


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Told", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def error(status: int, reason: str, message: str, **headers: str) -> bytes:
    text = f'{{"error": {{"code": {status}, "message": "{message}", "errors": [{{"reason": "{reason}"}}]}}}}'
    return answer(status, text.encode(), content_type="application/json", **headers)


@dataclass(slots=True)
class Tokens:
    """`AccessTokens` of a list: one that is distrusted is followed by the next."""

    texts: list[str] = field(default_factory=lambda: ["first"])
    distrusted: list[str] = field(default_factory=list)

    async def current(self, now: datetime) -> AccessToken:
        return AccessToken(text=self.texts[0], expires_at=now + timedelta(hours=1))

    def distrust(self, token: AccessToken) -> None:
        self.distrusted.append(token.text)
        if token.text == self.texts[0] and len(self.texts) > 1:
            self.texts.pop(0)


class StoppedClock:
    def now(self) -> datetime:
        return NOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    caller: GcsCaller
    tokens: Tokens
    sent: list[Sent]

    @property
    def host(self) -> str:
        return self.caller.endpoint.host


@asynccontextmanager
async def scripted(answers: Answers | bytes, *, timeout: float = 5.0) -> AsyncIterator[Scripted]:
    sent: list[Sent] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent.append(await _request(reader))
        writer.write(answers if isinstance(answers, bytes) else answers(sent[-1]))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        caller = GcsCaller(
            http=http,
            endpoint=Endpoint.of(f"http://127.0.0.1:{port}"),
            clock=StoppedClock(),
            timeout=timedelta(seconds=timeout),
        )
        yield Scripted(caller=caller, tokens=Tokens(), sent=sent)


async def _request(reader: asyncio.StreamReader) -> Sent:
    line, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in rest)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Sent(line=line, headers=headers, body=body)
