"""The object's bytes from the store, in order, each exactly once, through whatever breaks on the way.

A GET that is reset, truncated or stalled goes on by `Range` (RFC 9110 section 14) from the first byte that did not
arrive. A refused one (403; S3 says 400 for an expired session token) gets a fresh grant first. 404 and 412, another
ETag or another length end the attempt: what was verified is not there any more, and no other try brings it back.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from consumer.backoff import Backoff
from consumer.client import Grant
from consumer.errors import BrokerAway, BrokerRefused, ObjectChanged, ObjectMissing, StoreTrouble
from consumer.tenure import Tenure

CONNECT_SECONDS = 10.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_REFUSED = frozenset({400, 401, 403})


class _Broken(Exception):
    """This GET ended early; its successor goes on."""


class _Stale(_Broken):
    """The store refuses the signed GET: a fresh one may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a read may be in trouble before the job is given back."""

    idle_seconds: float = 30.0
    tries: int = 8  # in a row without a single byte
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=0.2, limit_seconds=10.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One verified object. `http` must never carry a credential."""

    http: aiohttp.ClientSession
    tenure: Tenure
    size_bytes: int
    etag: str
    version: str | None = None
    patience: Patience = field(default_factory=Patience)

    async def stream(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Bytes `start` up to `end`, in pieces as they arrive. At least one GET is sent.

        :raises ObjectMissing, ObjectChanged, StoreTrouble, LeaseLost:
        """
        at, failures = start, 0
        stale: Grant | None = None
        while True:
            try:
                grant = await self.tenure.renew(stale) if stale else await self.tenure.readable()
                stale = None
                async with aclosing(self._get(grant, at, end)) as pieces:
                    async for piece in pieces:
                        at, failures = at + len(piece), 0
                        yield piece
                return
            except (_Broken, BrokerAway, BrokerRefused, aiohttp.ClientError, TimeoutError, OSError) as exc:
                failures += 1
                if failures >= self.patience.tries:
                    raise StoreTrouble(f"gave up after {failures} tries at byte {at}: {_cause(exc)}") from None
                if isinstance(exc, _Stale):
                    stale = grant
                if failures > 1 or not isinstance(exc, _Stale):
                    await self.patience.backoff.wait(failures)

    async def _get(self, grant: Grant, start: int, end: int) -> AsyncGenerator[bytes, None]:
        left = end - start
        async with self._answer(grant, start, end) as answer:
            async for piece, _ in answer.content.iter_chunks():  # unlike iter_any it joins, and so copies, nothing
                left -= len(piece)
                if left < 0:
                    raise ObjectChanged("the store sent more bytes than were verified")
                if piece:  # the end of a chunk of the transfer coding is an empty one
                    yield piece
        if left:
            raise _Broken("truncated")

    @asynccontextmanager
    async def _answer(self, grant: Grant, start: int, end: int) -> AsyncIterator[aiohttp.ClientResponse]:
        is_part = start > 0 or end < self.size_bytes
        headers = {"accept-encoding": "identity", **grant.read.headers}
        if is_part:
            headers["range"] = f"bytes={start}-{end - 1}"
        async with self.http.request(
            grant.read.method,
            _exact(grant.read.url),
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_SECONDS, sock_read=self.patience.idle_seconds
            ),
        ) as answer:
            _check_status(answer.status)
            self._check_identity(answer, start, end, is_part=is_part)
            yield answer

    def _check_identity(self, answer: aiohttp.ClientResponse, start: int, end: int, *, is_part: bool) -> None:
        self._check_version(answer)
        if not is_part:
            if answer.status != 200 or answer.headers.get("content-length", str(end)) != str(end):
                raise ObjectChanged("the store answers with another length than was verified")
            return
        if answer.status != 206:
            raise _Broken("the store does not read ranges")
        told = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if told is None:
            raise _Broken("a partial answer without its range")
        first, last, size = map(int, told.groups())
        if size != self.size_bytes:
            raise ObjectChanged("the store answers with another length than was verified")
        if (first, last) != (start, end - 1):
            raise _Broken("another range than was asked for")

    def _check_version(self, answer: aiohttp.ClientResponse) -> None:
        """By the generation where the store says one: its ETag need not be the one that was verified, then ("Hashes and
        ETags" of Cloud Storage: under a key of the customer's it is no MD5)."""
        generation = answer.headers.get("x-goog-generation")
        if self.version is not None and generation is not None:
            if generation != self.version:
                raise ObjectChanged("the store answers with another generation than was verified")
        elif _bare(answer.headers.get("etag", "")) != _bare(self.etag):
            raise ObjectChanged("the store answers with another ETag than was verified")


def _check_status(status: int) -> None:
    if status in {200, 206}:
        return
    if status == 404:
        raise ObjectMissing
    if status in {412, 416}:  # 416: shorter than the range that was verified
        raise ObjectChanged
    if status in _REFUSED:
        raise _Stale(f"the store answered {status}")
    raise _Broken(f"the store answered {status}")


def _exact(url: str) -> URL:
    # A signature covers the URL as it is spelled; normalizing it would break the signature.
    return URL(url, encoded=True)


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def _cause(exc: Exception) -> str:
    """Our own errors speak for themselves; a library's text may name an address, so only its type is told."""
    return str(exc) if isinstance(exc, _Broken | BrokerAway | BrokerRefused) else type(exc).__name__
