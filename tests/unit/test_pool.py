"""The connections of a process: a host that hangs holds up its own callers alone."""

import asyncio

import aiohttp
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer
from aiohttp.typedefs import Handler

from broker.wiring.pool import CONNECTIONS, CONNECTIONS_TO_ONE, open_pool


async def test_a_host_that_hangs_leaves_connections_to_the_others() -> None:
    goes_on = asyncio.Event()

    async def hangs(_: web.Request) -> web.Response:
        await goes_on.wait()
        return web.Response()

    async def answers(_: web.Request) -> web.Response:
        return web.Response()

    async with _serving(hangs) as iam, _serving(answers) as store, open_pool(limit=4, to_one=3) as http:
        signing = [asyncio.create_task(_status(http, iam)) for _ in range(12)]
        await asyncio.sleep(0)  # all of them have asked for a connection

        assert await asyncio.wait_for(_status(http, store), 5) == 200

        goes_on.set()
        assert await asyncio.wait_for(asyncio.gather(*signing), 10) == [200] * 12


async def test_what_a_process_opens_is_no_different() -> None:
    async with open_pool() as http:
        assert http.connector is not None
        assert (http.connector.limit, http.connector.limit_per_host) == (CONNECTIONS, CONNECTIONS_TO_ONE)
    assert CONNECTIONS_TO_ONE < CONNECTIONS


def _serving(answer: Handler) -> TestServer:
    app = web.Application()
    app.router.add_get("/", answer)
    return TestServer(app)


async def _status(http: aiohttp.ClientSession, server: BaseTestServer) -> int:
    async with http.get(server.make_url("/")) as response:
        return response.status
