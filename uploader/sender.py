"""One signed request to the store, sent exactly as signed, and what its answer means.

S3 API reference, "Error responses" and "PutObject" (conditional writes). Nothing in an answer proves that the
upload is good: not its status, not its ETag. It only says what to do next.
"""

import os
import re
import socket
import ssl
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

import aiohttp
from msgspec import Struct
from yarl import URL

from broker.contract import SignedRequest
from uploader.body import SourceBody
from uploader.errors import Unreachable
from uploader.events import Meter
from uploader.refusals import read_refusal
from uploader.retry import parse_retry_after
from uploader.source import Source
from uploader.witness import md5_of

MAX_ANSWER_BYTES = 1 << 16  # of an error document; they are a few hundred bytes
SKIPPED_HEADERS = ("Accept", "Accept-Encoding", "Content-Type")  # aiohttp's own additions: none of them is signed

EXPIRY_MARGIN = timedelta(seconds=5)  # ours: a request that is about to expire is renewed before it is sent
MAX_REFUSALS = 2  # ours: a fresh signature that is refused as well is not a matter of time

EXPIRED = "ExpiredToken"  # 400: what Cloud Storage says of a signature whose time is over, and S3 of temporary keys
RETRYABLE_CODES = frozenset({"RequestTimeout", "SlowDown", "ServiceUnavailable", "InternalError", "OperationAborted"})


class Next(Enum):
    """What follows from an answer of the store."""

    CONFIRM = auto()  # ask the broker: it is there, or may be (2xx, 412)
    REPEAT = auto()  # send again after a pause
    REMINT = auto()  # ask for another signature, then send again
    GIVE_UP = auto()


class Answer(Struct, frozen=True, kw_only=True, gc=False):
    """The store's answer, or the lack of one (`status` 0). A struct, for there are thousands a second.

    :ivar range: which bytes of an unfinished upload the store has, in its words.
    :ivar etag: in its words, with the quotes.
    :ivar md5: of what it has received, if it says so.
    """

    status: int
    code: str
    message: str
    retry_after: timedelta | None = None
    range: str | None = None
    etag: str | None = None
    md5: bytes | None = None

    @property
    def next(self) -> Next:
        if 200 <= self.status < 300 or self.status == 412:
            return Next.CONFIRM
        if self.status == 403 or self.code == EXPIRED:
            return Next.REMINT
        if self.status in {0, 408, 409, 425, 429} or self.status >= 500 or self.code in RETRYABLE_CODES:
            return Next.REPEAT
        return Next.GIVE_UP

    def __str__(self) -> str:
        head = f"{self.status} {self.code}".strip() if self.status else self.code
        return f"{head}: {self.message}" if self.message else head


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Sends bytes as signed.

    :ivar stall: longest time in which the store takes no byte.
    :ivar answer_timeout: longest time between our last byte and the answer; a store commits gigabytes in it.
    """

    session: aiohttp.ClientSession
    executor: Executor
    stall: timedelta = timedelta(seconds=60)
    connect_timeout: timedelta = timedelta(seconds=15)
    answer_timeout: timedelta = timedelta(minutes=5)

    async def send(self, request: SignedRequest, source: Source, meter: Meter) -> Answer:
        """:raises FileChanged: the source changed; the store was not given all of it."""
        meter.begin("sending")
        body = SourceBody(source, meter, executor=self.executor, stall=self.stall)
        try:
            return await self._ask(request, body)
        except (aiohttp.ClientError, OSError) as exc:
            if body.failure is not None:
                raise body.failure from None  # aiohttp's wrapper names the signed URL
            return Answer(status=0, code=describe(exc), message="")
        finally:
            await body.idle()

    async def _ask(self, request: SignedRequest, body: SourceBody) -> Answer:
        async with self.session.request(
            request.method,
            signed_url(request),
            data=body,
            headers=request.headers,
            skip_auto_headers=SKIPPED_HEADERS,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=self.connect_timeout.total_seconds(),
                sock_read=self.answer_timeout.total_seconds(),
            ),
        ) as response:
            return await read_answer(response)


def signed_url(request: SignedRequest) -> URL:
    """:raises Unreachable: the broker sent something that is not an HTTP URL as it goes over the wire."""
    if re.fullmatch(r"https?://[!-~]+", request.url):
        with suppress(ValueError):
            return URL(request.url, encoded=True)  # encoded: one changed escape breaks the signature
    raise Unreachable("the signed request holds no usable URL")


async def read_answer(response: aiohttp.ClientResponse) -> Answer:
    """Status, code and message. The text of an error that is cut off counts for what arrived of it."""
    text = b""
    if response.status >= 300:
        try:
            text = await read_body(response, MAX_ANSWER_BYTES)
        except (aiohttp.ClientError, OSError):
            text = b""
    code, message = read_refusal(text, response.request_info.url, response.reason or "")
    return Answer(
        status=response.status,
        code=code,
        message=message,
        retry_after=parse_retry_after(response.headers.get("Retry-After")),
        range=response.headers.get("Range"),
        etag=response.headers.get("ETag"),
        md5=md5_of(response.headers.items()),
    )


async def read_body(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """The body, or its beginning when it is longer than anything sensible."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) >= limit_bytes:
            break
    return bytes(body[:limit_bytes])


def describe(exc: BaseException) -> str:
    """What broke, in words that hold no URL: several of aiohttp's messages do."""
    if isinstance(exc, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError | ssl.SSLError):
        return "TLS failed"
    if isinstance(exc, aiohttp.ClientConnectorDNSError | socket.gaierror):
        return "the host name is unknown"
    if isinstance(exc, TimeoutError):
        return "timed out"
    if isinstance(exc, OSError) and exc.errno and exc.errno > 0:
        return os.strerror(exc.errno).lower()  # asyncio's own text names addresses
    return "connection lost"
