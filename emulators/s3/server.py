"""Put the store together, listen, and end cleanly."""

import asyncio
import fcntl
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from aiohttp import web

from emulators.s3 import buckets
from emulators.s3.app import App
from emulators.s3.blobs import Blobs
from emulators.s3.body import Intake
from emulators.s3.catalogue import Catalogue
from emulators.s3.context import Completed, Store
from emulators.s3.counters import Counters
from emulators.s3.events import Notifier
from emulators.s3.faults import Faults, FaultSettings
from emulators.s3.settings import Settings
from emulators.s3.sigv4 import Verifier

log = logging.getLogger(__name__)

READ_BUFFER_BYTES: Final = 1 << 19  # aiohttp holds at most twice this for each body
MAX_HEADER_BYTES: Final = 32_768  # a presigned URL with a session token of some kilobytes must fit
SHUTDOWN_SECONDS: Final = 2.0
ORPHAN_SECONDS: Final = 10.0


class DataInUse(Exception):
    """Another emulator works in this data directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    host: str
    port: int

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"


def _lock(data: Path) -> IO[str]:
    """Two processes in one directory would each remove what the other is writing."""
    data.mkdir(parents=True, exist_ok=True)
    file = (data / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        file.close()
        raise DataInUse(f"another emulator is using {data}") from exc
    return file


def _ensure_buckets(settings: Settings, catalogue: Catalogue) -> None:
    for spec in settings.buckets:
        buckets.check_name(spec.name)
        if catalogue.bucket(spec.name) is None:
            owner = spec.owner or settings.accounts[0].name
            catalogue.put_bucket(buckets.new_bucket(spec.name, owner, settings))


@asynccontextmanager
async def listening(settings: Settings, faults: FaultSettings, host: str, port: int) -> AsyncIterator[Listening]:
    """A server that answers while the block runs.

    :raises DataInUse: as it says.
    :raises OSError: when the address is taken.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(_lock(settings.data))
        catalogue = Catalogue(settings.data / "catalogue.sqlite3", is_fsynced=settings.is_fsynced)
        stack.callback(catalogue.close)
        _ensure_buckets(settings, catalogue)
        blobs = Blobs(settings.data, is_fsynced=settings.is_fsynced)
        blobs.sweep(catalogue.blobs())
        counters = Counters()
        switch = Faults(faults, counters)
        notifier = Notifier(
            targets=settings.notify,
            bearer=settings.notify_bearer,
            region=settings.region,
            faults=switch,
            counters=counters,
        )
        await notifier.open()
        stack.push_async_callback(notifier.close)
        intake = Intake(
            blobs=blobs, faults=switch, counters=counters, idle_timeout_seconds=settings.idle_timeout_seconds
        )
        store = Store(
            settings=settings,
            catalogue=catalogue,
            blobs=blobs,
            intake=intake,
            notifier=notifier,
            faults=switch,
            counters=counters,
            completed=Completed(),
        )
        verifier = Verifier(
            accounts={account.access_key: account for account in settings.accounts},
            region=settings.region,
            accepts_unsigned_headers=settings.accepts_unsigned_headers,
        )
        bound = await _bind(App(store, verifier), host, port, stack)
        if settings.sends_test_event:
            notifier.announce()
        yield Listening(host=host, port=bound)


async def _bind(app: App, host: str, port: int, stack: AsyncExitStack) -> int:
    server = web.Server(
        app.handle,
        auto_decompress=False,  # Content-Encoding belongs to the object, not to the transfer
        lingering_time=0,  # app.py swallows what is left of a refused body, within bounds of its own
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        read_bufsize=READ_BUFFER_BYTES,
        access_log=None,
    )
    runner = web.ServerRunner(server)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, host, port, backlog=1024, shutdown_timeout=SHUTDOWN_SECONDS)
    await site.start()
    return int(runner.addresses[0][1])


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


async def serve(
    settings: Settings,
    faults: FaultSettings,
    host: str,
    port: int,
    *,
    ends_with_stdin: bool,
    when_ready: Callable[[Listening], None],
) -> None:
    """Run until a signal says otherwise."""
    told = _end_of_life(ends_with_stdin=ends_with_stdin)
    async with listening(settings, faults, host, port) as where:
        log.info("event=emulator.ready endpoint=%s data=%s", where.endpoint, settings.data)
        when_ready(where)
        await told.wait()
    log.info("event=emulator.ended")
