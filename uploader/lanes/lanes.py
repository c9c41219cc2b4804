"""The pool: connections by origin, kept for the next request, as many as are needed at once."""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from broker.contract import SignedRequest
from uploader.lanes.connecting import Addresses
from uploader.lanes.head import Origin, cut, head, origin_of
from uploader.lanes.lane import Body, Lane
from uploader.sender import Answer, describe

KEPT_IDLE = timedelta(seconds=15)  # ours: shorter than what most servers allow
LAST_WORDS = timedelta(seconds=5)  # ours: an aborted connection is gone in one turn of the loop


@dataclass(slots=True, kw_only=True)
class _Pool:
    """Connections to one origin. The last one used is the next one used, so that the others get old."""

    origin: Origin
    addresses: Addresses
    idle: list[Lane] = field(default_factory=list)

    def take(self) -> Lane | None:
        while self.idle:
            lane = self.idle.pop()
            if lane.is_open:
                return lane
        return None


class Lanes:
    """Sends requests whose body is in memory, one at a time on each connection.

    How many there are at a time is up to the caller: each `send` under way has a connection.

    :param tls: for a private certificate authority.
    :param stall: longest time in which the store takes no byte.
    :param answer_timeout: longest time from our last byte to the store's answer.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        user_agent: str = "uploader",
        connect_timeout: timedelta = timedelta(seconds=15),
        stall: timedelta = timedelta(seconds=60),
        answer_timeout: timedelta = timedelta(minutes=5),
    ) -> None:
        self._tls = tls
        self._user_agent = user_agent
        self._connect_timeout = connect_timeout
        self._stall = stall
        self._answer_timeout = answer_timeout
        self._pools: dict[str, _Pool] = {}
        self._lanes: set[Lane] = set()
        self._are_gone = asyncio.Event()
        self._are_gone.set()

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._watching.cancel()
        for lane in self._lanes:
            lane.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS.total_seconds()):
                await self._are_gone.wait()

    async def send(self, request: SignedRequest, body: Body) -> Answer:
        """The store's answer, or what broke (`status` 0).

        :raises Unreachable: the broker sent something that is no request.
        """
        origin, target = cut(request.url)
        pool = self._pools.get(origin) or self._add(origin)
        first = head(request, target, pool.origin, len(body))
        lane = pool.take()
        if lane is not None and (answer := await self._ask(pool, lane, first, body, request.url)) is not None:
            return answer
        try:
            lane = await self._connect(pool)
        except OSError as exc:
            return Answer(status=0, code=describe(exc), message="")
        answer = await self._ask(pool, lane, first, body, request.url)
        return answer or Answer(status=0, code="connection lost", message="")

    async def _ask(self, pool: _Pool, lane: Lane, first: bytes, body: Body, url: str) -> Answer | None:
        answer = await lane.ask(first, body, url)
        if lane.is_open:
            pool.idle.append(lane)
            lane.idle_since = asyncio.get_running_loop().time()
        return answer

    def _add(self, text: str) -> _Pool:
        origin = origin_of(text, self._user_agent)
        if origin.is_tls and self._tls is None:
            self._tls = ssl.create_default_context()
        self._pools[text] = _Pool(origin=origin, addresses=Addresses(origin))
        return self._pools[text]

    async def _connect(self, pool: _Pool) -> Lane:
        """:raises OSError: nobody there, or somebody else."""
        async with asyncio.timeout(self._connect_timeout.total_seconds()):
            made = await pool.addresses.connect(self._stall)
            lane = Lane(self._lost)
            self._lanes.add(lane)
            self._are_gone.clear()
            try:
                await asyncio.get_running_loop().create_connection(
                    lambda: lane,
                    sock=made,
                    ssl=self._tls if pool.origin.is_tls else None,
                    server_hostname=pool.origin.host if pool.origin.is_tls else None,
                )
            except BaseException:
                made.close()
                self._lost(lane)
                raise
        return lane

    def _lost(self, lane: Lane) -> None:
        self._lanes.discard(lane)
        if not self._lanes:
            self._are_gone.set()

    async def _watch(self) -> None:
        """One timer for all connections: one for each request would cost more than the request."""
        stall, answer = self._stall.total_seconds(), self._answer_timeout.total_seconds()
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(1.0, stall / 4, answer / 4))
            now = loop.time()
            for lane in tuple(self._lanes):
                lane.check(now, stall, answer)
            for pool in self._pools.values():
                _prune(pool, now - KEPT_IDLE.total_seconds())


def _prune(pool: _Pool, oldest: float) -> None:
    kept = [lane for lane in pool.idle if lane.is_open and lane.idle_since > oldest]
    for lane in pool.idle:
        if lane not in kept:
            lane.abort()
    pool.idle[:] = kept
