"""The broker's four job calls over HTTP. The role key goes to the broker and nowhere else: the store has a session of
its own, and no redirect is followed.

A lease is measured against the broker's clock: its life is `expires_at` less the answer's `Date`, counted from the
moment of *sending* on our monotonic clock. So a worker whose wall clock is wrong still renews in time.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import TypeVar

import aiohttp
import msgspec
from msgspec import Struct

from broker import contract
from consumer.alive import silent
from consumer.errors import BrokerAway, BrokerRefused, LeaseLost

CALL_SECONDS = 15.0  # ours: a broker that takes longer for one job is as good as away
CLOCKS_AGREE = timedelta(seconds=2)  # `Date` has whole seconds: a smaller difference says nothing
_LATER = frozenset({408, 425, 429})

Answer = TypeVar("Answer", bound=Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A lease and a signed GET, with their ends on the event loop's clock."""

    lease: contract.Lease
    read: contract.SignedRequest
    since: float
    lease_ends: float
    read_ends: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A leased job as it came."""

    job: contract.Job
    grant: Grant


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """The broker, as one role key sees it. Every method raises only BrokerAway, BrokerRefused and LeaseLost."""

    http: aiohttp.ClientSession
    url: str
    key: str = field(repr=False)
    now: Callable[[], datetime] = _utc_now
    answered: Callable[[], None] = silent  # called at each good answer

    async def lease(self, limit: int, *, wait_seconds: float, worker: str) -> list[Granted]:
        """Up to `limit` jobs; waits for the first up to `wait_seconds`.

        :raises BrokerAway, BrokerRefused:
        """
        ask = contract.LeaseRequest(max=limit, wait_seconds=wait_seconds, worker=worker)
        sent = _time()
        body, offset = await self._post("/jobs/lease", ask, CALL_SECONDS + wait_seconds)
        received = _time()
        leased = _decode(body, contract.LeasedJobs)
        # The long poll may have waited before it leased, so here the answer's arrival counts, not the sending.
        since = received if wait_seconds else sent
        return [Granted(job=job, grant=self._grant(job.lease, job.read, since, offset)) for job in leased.jobs]

    async def renew(self, job_id: str, lease: contract.Lease) -> Grant:
        """
        :raises LeaseLost, BrokerAway, BrokerRefused:
        """
        sent = _time()
        ask = contract.RenewRequest(lease=lease.token, epoch=lease.epoch)
        body, offset = await self._job_call(job_id, "renew", ask)
        renewed = _decode(body, contract.RenewedLease)
        return self._grant(renewed.lease, renewed.read, sent, offset)

    async def report(self, job_id: str, result: contract.ResultRequest, *, traceparent: str = "") -> contract.JobState:
        """
        :raises LeaseLost, BrokerAway, BrokerRefused:
        """
        body, _ = await self._job_call(job_id, "result", result, traceparent)
        return _decode(body, contract.JobState)

    async def release(self, job_id: str, ask: contract.ReleaseRequest, *, traceparent: str = "") -> None:
        """
        :raises LeaseLost, BrokerAway, BrokerRefused:
        """
        await self._job_call(job_id, "release", ask, traceparent)

    async def _job_call(self, job_id: str, verb: str, ask: Struct, traceparent: str = "") -> tuple[bytes, timedelta]:
        headers = {"traceparent": traceparent} if traceparent else {}
        try:
            return await self._post(f"/jobs/{job_id}/{verb}", ask, CALL_SECONDS, headers)
        except BrokerRefused as exc:
            if exc.status in {404, 409, 410}:
                raise LeaseLost from exc
            raise

    async def _post(
        self, path: str, ask: Struct, seconds: float, headers: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[bytes, timedelta]:
        """The body of the answer, and how far the broker's clock is ahead of ours."""
        try:
            async with self.http.post(
                self.url + path,
                data=msgspec.json.encode(ask),
                headers={**headers, "authorization": f"Bearer {self.key}", "content-type": "application/json"},
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=CALL_SECONDS),
                allow_redirects=False,
            ) as answer:
                body = await answer.read()
                _check(answer, body)
                self.answered()
                return body, self._offset(answer.headers.get("date"))
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            # Our own words: the library's name addresses.
            raise BrokerAway(f"no answer ({type(exc).__name__})") from None

    def _offset(self, date: str | None) -> timedelta:
        if date is None:
            return timedelta(0)
        try:
            offset = parsedate_to_datetime(date) - self.now()
        except (ValueError, TypeError):
            return timedelta(0)
        return offset if abs(offset) > CLOCKS_AGREE else timedelta(0)

    def _grant(self, lease: contract.Lease, read: contract.SignedRequest, since: float, offset: timedelta) -> Grant:
        now = self.now() + offset
        at = _time()
        return Grant(
            lease=lease,
            read=read,
            since=since,
            lease_ends=at + (lease.expires_at - now).total_seconds(),
            read_ends=at + (read.expires_at - now).total_seconds(),
        )


def _check(answer: aiohttp.ClientResponse, body: bytes) -> None:
    if answer.status < 300:
        return
    if answer.status >= 500 or answer.status in _LATER:
        raise BrokerAway(f"answered {answer.status}", retry_after_seconds=_seconds(answer.headers.get("retry-after")))
    raise BrokerRefused(answer.status, _problem_code(body))


def _seconds(text: str | None) -> float:
    return min(float(text), 60.0) if text is not None and text.isdecimal() else 0.0


def _problem_code(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=contract.Problem).code
    except msgspec.MsgspecError:
        return "without a problem document"


def _decode(body: bytes, kind: type[Answer]) -> Answer:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError:
        raise BrokerAway(f"answered something that is not {kind.__name__}") from None


def _time() -> float:
    return asyncio.get_running_loop().time()
