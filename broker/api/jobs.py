"""Jobs over HTTP: what a consumer may do, with its role key and a live lease."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from broker.api.answers import Answer, json_answer
from broker.api.auth import Gate
from broker.api.bodies import JsonBody
from broker.api.mounting import mount
from broker.api.operations import LEASE, RELEASE, RENEW, RESULT
from broker.api.schemas import job_state
from broker.contract import Job, LeasedJobs, LeaseRequest, ReleaseRequest, RenewRequest, ResultRequest
from broker.domain.errors import InvalidInput, Unauthenticated
from broker.domain.principals import ApiKey
from broker.ports import ApiKeys
from broker.services.finish import FinishJob, ReleaseJob
from broker.services.lease import LeaseJobs, RenewLease

_SLICE = timedelta(seconds=1)  # how long a poll goes on for a consumer that hung up
MAX_RESULT_DEPTH = 64  # ours: parsers in wide use stop between 100 and 1,000 levels

_LEASE = JsonBody(LeaseRequest, default=LeaseRequest())
_RENEW = JsonBody(RenewRequest)
_RESULT = JsonBody(ResultRequest)
_RELEASE = JsonBody(ReleaseRequest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    lease: LeaseJobs
    renew: RenewLease
    finish: FinishJob
    release: ReleaseJob
    keys: ApiKeys

    def routes(self, gate: Gate) -> list[HTTPRouteHandler]:
        return [
            mount(gate, LEASE, self._lease),
            mount(gate, RENEW, self._renew),
            mount(gate, RESULT, self._result),
            mount(gate, RELEASE, self._release),
        ]

    async def _lease(self, request: Request[Any, Any, Any], api_key: ApiKey) -> Answer:
        wish = await _LEASE.read(request)
        gone = asyncio.ensure_future(request.receive())  # the body is read: the next message is that nobody listens
        try:
            jobs = await self._poll(api_key, wish, gone)
            if gone.done():
                await self._give_back(api_key, jobs)
        finally:
            gone.cancel()
        return json_answer(200, LeasedJobs(jobs=jobs))

    async def _poll(self, api_key: ApiKey, wish: LeaseRequest, gone: "asyncio.Future[Any]") -> list[Job]:
        """In slices, because a lease that is cancelled half-way would be lost for its whole duration.

        :raises Unauthenticated: the key was revoked meanwhile.
        """
        left = timedelta(seconds=wish.wait_seconds)
        while True:
            wait = min(left, _SLICE)
            jobs = await self.lease(wish.max, worker=wish.worker, wait=wait, zones=api_key.zones)
            left -= wait
            if jobs or not left or gone.done():
                return jobs
            api_key = await self._live(api_key)

    async def _live(self, api_key: ApiKey) -> ApiKey:
        """The key as it stands now: its destinations too may be others."""
        now = await self.keys.find(api_key.id)
        if now is None or now.generation != api_key.generation:
            raise Unauthenticated
        return now

    async def _give_back(self, api_key: ApiKey, jobs: list[Job]) -> None:
        """What was leased for a consumer that stopped waiting is there for the others at once."""
        for job in jobs:
            lease = job.lease
            await self.release(job.id, token=lease.token, epoch=lease.epoch, cause="drain", zones=api_key.zones)

    async def _renew(self, request: Request[Any, Any, Any], api_key: ApiKey) -> Answer:
        wish, zones = await _RENEW.read(request), api_key.zones
        return json_answer(200, await self.renew(_job_id(request), token=wish.lease, epoch=wish.epoch, zones=zones))

    async def _result(self, request: Request[Any, Any, Any], api_key: ApiKey) -> Answer:
        report = await _RESULT.read(request)
        _check_readable(report.result)
        return json_answer(200, job_state(await self.finish(_job_id(request), report, zones=api_key.zones)))

    async def _release(self, request: Request[Any, Any, Any], api_key: ApiKey) -> Answer:
        wish, job_id = await _RELEASE.read(request), _job_id(request)
        session = await self.release(job_id, token=wish.lease, epoch=wish.epoch, cause=wish.cause, zones=api_key.zones)
        return json_answer(200, job_state(session))


def _job_id(request: Request[Any, Any, Any]) -> str:
    """Not checked here: only the id that a lease token names gets any further."""
    return str(request.path_params["job_id"])


def _check_readable(result: msgspec.Raw) -> None:
    """A result is kept as it came and shown to the session's owner, so it must be one that his parser can read.

    :raises InvalidInput: it is nested too deeply, or holds a number beyond a double.
    """
    try:
        value = msgspec.json.decode(result)
    except (ValueError, RecursionError) as broken:
        raise InvalidInput.at("/result", "common parsers cannot read this JSON") from broken
    if _depth(value) > MAX_RESULT_DEPTH:
        raise InvalidInput.at("/result", f"at most {MAX_RESULT_DEPTH} levels of JSON")


def _depth(value: Any) -> int:
    """Level by level, not by recursion: the depth is the caller's choice."""
    depth, level = 0, [value]
    while level := [inner for outer in level for inner in _members(outer)]:
        depth += 1
    return depth


def _members(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
