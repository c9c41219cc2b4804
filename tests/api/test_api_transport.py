"""What HTTP itself may do wrong, over a real socket where that matters."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import uvicorn
from litestar import Litestar

from broker.clock import SystemClock
from broker.one_write import OneWriteProtocol
from tests.api.world import WISH, World, build

CREATE_HEAD = "POST /upload-sessions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: Litestar) -> AsyncIterator[int]:
    """The port of a real server on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app, loop="none", http=OneWriteProtocol, ws="none", lifespan="off", log_config=None, access_log=False
        )
        server = _Server(config)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        async with asyncio.timeout(10):
            await server.is_up.wait()
        yield listener.getsockname()[1]
        server.should_exit = True
        await asyncio.wait_for(running, 10)


async def exchange(port: int, head: str, *chunks: bytes) -> tuple[int, dict[str, str], bytes]:
    """One request as these very bytes, and its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode())
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        async with asyncio.timeout(10):
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name: value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
            size = 0 if head.startswith("HEAD") else int(headers.get("content-length", "0"))
            return int(lines[0].split()[1]), headers, await reader.readexactly(size)
    finally:
        writer.close()
        await writer.wait_closed()


def authorization(world: World, who: str = "app") -> str:
    return f"authorization: Bearer {world.secrets[who]}\r\n"


def chunked(*chunks: bytes) -> list[bytes]:
    return [*(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks), b"0\r\n\r\n"]


async def test_a_mint_works_over_a_socket_in_pieces(world: World) -> None:
    body = json.dumps(WISH).encode()
    async with serving(world.app) as port:
        head = CREATE_HEAD + authorization(world) + "transfer-encoding: chunked\r\n\r\n"
        status, headers, answer = await exchange(port, head, *chunked(body[:5], body[5:9], body[9:]))
    assert status == 201
    assert json.loads(answer)["state"] == "pending"
    assert headers["content-type"] == "application/json"


async def test_a_body_without_a_length_is_counted(world: World) -> None:
    async with serving(world.app) as port:
        head = CREATE_HEAD + authorization(world) + "transfer-encoding: chunked\r\n\r\n"
        status, _, answer = await exchange(port, head, *chunked(*[b" " * 1_000_000] * 6))
        assert (status, json.loads(answer)["code"]) == (413, "body-too-large")
    assert await world.session_count() == 0


@pytest.mark.parametrize("length", ["5500001", "99999999999999999999", "9" * 1000])
async def test_an_announced_giant_is_refused_before_it_is_sent(world: World, length: str) -> None:
    async with serving(world.app) as port:
        head = CREATE_HEAD + authorization(world) + f"content-length: {length}\r\n\r\n"
        status, _, answer = await exchange(port, head)
    assert status in {400, 413}
    assert status == 400 or json.loads(answer)["code"] == "body-too-large"


async def test_what_stands_beyond_the_announced_length_is_not_read(world: World) -> None:
    body = json.dumps(WISH).encode()
    async with serving(world.app) as port:
        head = CREATE_HEAD + authorization(world) + f"content-length: {len(body) - 1}\r\n\r\n"
        status, _, _ = await exchange(port, head, body)
    assert status == 400
    assert await world.session_count() == 0


async def test_a_client_that_leaves_in_the_middle_changes_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(world.app) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write((CREATE_HEAD + authorization(world) + "content-length: 100\r\n\r\n{").encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.1)
        status, _, _ = await exchange(port, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    assert status == 200
    assert await world.session_count() == 0
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
async def test_head_is_get_without_the_content(world: World, path: str) -> None:
    async with serving(world.app) as port:
        got = await exchange(port, f"GET {path} HTTP/1.1\r\nhost: x\r\nx-request-id: a\r\n\r\n")
        head = await exchange(port, f"HEAD {path} HTTP/1.1\r\nhost: x\r\nx-request-id: a\r\n\r\n")
    assert head[0] == got[0] == 200
    for name in ("content-length", "content-type", "x-request-id"):
        assert head[1][name] == got[1][name]


async def test_head_of_what_is_refused_has_no_content_either(world: World) -> None:
    for path in ("/nowhere", "/upload-sessions/x", "/jobs/lease"):
        answer = await world.client.head(path, headers=world.as_("app"))
        assert answer.status_code in {404, 405}
        assert answer.content == b""


@pytest.mark.parametrize(
    ("path", "allowed"), [("/upload-sessions", {"OPTIONS", "POST"}), ("/healthz", {"GET", "HEAD", "OPTIONS"})]
)
async def test_options_says_what_is_allowed(world: World, path: str, allowed: set[str]) -> None:
    answer = await world.client.options(path)
    assert answer.status_code == 204
    assert set(answer.headers["allow"].split(", ")) == allowed


async def test_an_unknown_route_and_a_wrong_method_are_problems(world: World) -> None:
    for path in ("/nowhere", "/upload-sessions/a/b/c", "//", "/upload-sessions/%2e%2e/x"):
        answer = await world.client.post(path)
        assert (answer.status_code, answer.headers["content-type"]) in {
            (404, "application/problem+json"),
            (405, "application/problem+json"),
        }
    wrong = await world.client.put("/upload-sessions")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method-not-allowed")
    assert set(wrong.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


async def test_a_hostile_host_is_malformed(world: World) -> None:
    answer = await world.client.get("/healthz", headers={"host": "a b"})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")


@pytest.mark.parametrize("given", ["a", "0123-abc_DEF", "!" * 128, "~"])
async def test_a_sane_request_id_is_echoed(world: World, given: str) -> None:
    for path in ("/healthz", "/nowhere"):
        answer = await world.client.get(path, headers={"x-request-id": given})
        assert answer.headers["x-request-id"] == given


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"a b", b"\xe9", b"a\tb", b"<script>\x7f"])
async def test_any_other_request_id_is_replaced(world: World, given: bytes) -> None:
    seen = set()
    for path in ("/nowhere", "/nowhere"):
        answer = await world.client.get(path, headers={b"x-request-id": given})
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        seen.add(answer.headers["x-request-id"])
    assert len(seen) == 2
    assert given.decode("latin-1") not in seen


async def test_a_long_poll_answers_as_soon_as_there_is_work() -> None:
    world = build(SystemClock())
    async with world.client as client, asyncio.timeout(10):
        polling = asyncio.create_task(
            client.post("/jobs/lease", json={"wait_seconds": 30}, headers=world.as_("worker"))
        )
        await asyncio.sleep(0.05)
        session = await world.verified()
        answer = await polling
    assert [job["id"] for job in answer.json()["jobs"]] == [session["id"]]


async def test_a_job_is_not_lost_on_a_consumer_that_hung_up() -> None:
    world = build(SystemClock())
    body = json.dumps({"wait_seconds": 30}).encode()
    head = f"POST /jobs/lease HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\ncontent-type: application/json\r\n"
    async with world.client, serving(world.app) as port, asyncio.timeout(10):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write((head + authorization(world, "worker") + "\r\n").encode() + body)
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.1)
        session = await world.verified()
        await asyncio.sleep(1.1)
        job = await world.lease()
    assert job["id"] == session["id"]
    assert job["attempts"]["lost_leases"] == 0
