"""One emulator's life: take the directory, listen, say so, and end with a signal or with the process that asked.

    @asynccontextmanager
    async def listening(settings: Settings, address: Address) -> AsyncIterator[Listening]:
        async with AsyncExitStack() as stack:
            stack.enter_context(locked(settings.data))
            …
            yield await bind(App(store).handle, address, stack)

    run(listening(settings, address), address, ends_with_stdin=…, when_ready=announce)     # in the command

The handler stands directly under aiohttp's low-level server, with no router between: a router would normalise the
paths whose bytes were signed, and would answer `Expect: 100-continue` before the headers were judged.
"""

import asyncio
import fcntl
import importlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from aiohttp import web

log = logging.getLogger(__name__)

READ_BUFFER_BYTES: Final = 1 << 19  # aiohttp holds at most twice this for each body
MAX_HEADER_BYTES: Final = 32_768  # a signed URL with a session token of some kilobytes must fit
SHUTDOWN_SECONDS: Final = 2.0
ORPHAN_SECONDS: Final = 10.0

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Address = tuple[str, int]
"""Host and port; port 0 picks a free one."""


class Answering(Protocol):
    """What a server tells when it is ready; it may be more than `Listening`."""

    @property
    def endpoint(self) -> str: ...


Where = TypeVar("Where", bound=Answering)


class DataInUse(Exception):
    """Another emulator works in this data directory."""


class CannotListen(Exception):
    """The address is taken, or none of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    host: str
    port: int

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Two processes in one directory would each remove what the other is writing.

    :raises DataInUse: as it says.
    """
    data.mkdir(parents=True, exist_ok=True)
    with (data / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise DataInUse(f"another emulator is using {data}") from exc
        yield


async def bind(handler: Handler, address: Address, stack: AsyncExitStack) -> Listening:
    """Answer with `handler` until the stack ends.

    :raises CannotListen: as it says.
    """
    host, port = address
    server = web.Server(
        handler,
        auto_decompress=False,  # Content-Encoding belongs to the object, not to the transfer
        lingering_time=0,  # refusing.py swallows what is left of a refused body, within bounds of its own
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        read_bufsize=READ_BUFFER_BYTES,
        access_log=None,
    )
    runner = web.ServerRunner(server)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, host, port, backlog=1024, shutdown_timeout=SHUTDOWN_SECONDS).start()
    except OSError as exc:
        raise CannotListen(f"cannot listen on {host}:{port}: {exc.strerror or exc}") from exc
    return Listening(host=host, port=int(runner.addresses[0][1]))


def run(
    server: AbstractAsyncContextManager[Where], *, ends_with_stdin: bool, when_ready: Callable[[Where], None]
) -> None:
    """Serve in this process until SIGTERM, SIGINT, or the end of stdin where that is asked for.

    :raises DataInUse: and :raises CannotListen: from the server's way up.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(server, ends_with_stdin=ends_with_stdin, when_ready=when_ready))


async def _serve(
    server: AbstractAsyncContextManager[Where], *, ends_with_stdin: bool, when_ready: Callable[[Where], None]
) -> None:
    told = _end_of_life(ends_with_stdin=ends_with_stdin)
    async with server as where:
        log.info("event=emulator.ready endpoint=%s", where.endpoint)
        when_ready(where)
        await told.wait()
    log.info("event=emulator.ended")


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed; it is not part of a bare installation."""
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
    except ImportError:
        return None
    return factory


def _end_of_life(*, ends_with_stdin: bool) -> asyncio.Event:
    """Set by SIGTERM or SIGINT, or when the process that holds our stdin goes away."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    if ends_with_stdin:
        threading.Thread(target=_watch_stdin, args=(loop, told), name="stdin", daemon=True).start()
    return told


def _watch_stdin(loop: asyncio.AbstractEventLoop, told: asyncio.Event) -> None:
    """In a thread of its own, so that even a loop that hangs does not outlive the parent for long."""
    with suppress(OSError):
        while os.read(sys.stdin.fileno(), 4096):
            pass
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(told.set)
    time.sleep(ORPHAN_SECONDS)
    os._exit(1)
