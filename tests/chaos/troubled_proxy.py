"""In front of a broker: some requests are refused, some connections break before or after the broker has done its
work, and some answers are cut short. For clients that must survive it.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from yarl import URL

from emulators.refusing import Disconnect, Reset, hang_up

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "host"}


@dataclass(slots=True, kw_only=True)
class TroubledProxy:
    """
    :ivar refused: share of the requests answered 503 by us.
    :ivar reset: share of the connections that break, half of them after the broker has done what was asked.
    :ivar truncated: share of the answers that end half-way, short of their Content-Length.
    :ivar faults: what was done, by kind.
    """

    upstream: str
    dice: random.Random
    refused: float
    reset: float
    truncated: float
    url: str = ""
    faults: Counter[str] = field(default_factory=Counter)
    _http: aiohttp.ClientSession | None = None

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if self._hits("refused", self.refused):
            return web.Response(status=503, headers={"Retry-After": "0"})
        if self._hits("reset before", self.reset / 2):
            return hang_up(request, Reset())
        try:
            status, headers, answer = await self._ask(request, body)
        except (aiohttp.ClientError, OSError, TimeoutError):  # the broker is dead at the moment
            return hang_up(request, Reset())
        if self._hits("reset after", self.reset / 2):
            return hang_up(request, Reset())
        if answer and self._hits("truncated", self.truncated):
            return await _cut(request, status, headers, answer)
        return web.Response(status=status, headers=headers, body=answer)

    async def _ask(self, request: web.BaseRequest, body: bytes) -> tuple[int, dict[str, str], bytes]:
        assert self._http is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        url = URL(f"{self.upstream}{request.path_qs}", encoded=True)
        async with self._http.request(request.method, url, data=body, headers=headers, allow_redirects=False) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
            return answer.status, kept, await answer.read()

    def _hits(self, kind: str, share: float) -> bool:
        is_hit = self.dice.random() < share
        self.faults[kind] += is_hit
        return is_hit

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["TroubledProxy"]:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as self._http:
            server = web.Server(self.serve)
            runner = web.ServerRunner(server)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            try:
                yield self
            finally:
                await runner.cleanup()


async def _cut(request: web.BaseRequest, status: int, headers: dict[str, str], answer: bytes) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers | {"Content-Length": str(len(answer))})
    await response.prepare(request)
    await response.write(answer[: len(answer) // 2])
    return hang_up(request, Disconnect())
