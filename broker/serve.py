"""Running the house: the API under uvicorn, the looker beside it or alone, the pollers. SIGTERM drains."""

import asyncio
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec
import uvicorn
import uvloop
from litestar.types import ASGIApp

from broker.api.app import Watched, create_app, create_health_app
from broker.api.cors import share_with
from broker.api.watching import watched
from broker.domain.errors import ConfigurationInvalid
from broker.one_write import OneWriteProtocol
from broker.settings import ServerSettings, Settings
from broker.telemetry.tracing import Tracing
from broker.wiring import House, open_house, open_polling

_log = logging.getLogger("broker.serve")

DRAIN_SECONDS = 10  # long polls end by themselves; longer waits are cut
YOUNG_OBJECTS = 10_000  # ours: new ones before Python looks for cycles among them, some 0.3 ms


def serve(settings: Settings, *, is_looking: bool, is_relaying: bool, is_announcing: bool) -> None:
    uvloop.run(_serve(settings, is_looking=is_looking, is_relaying=is_relaying, is_announcing=is_announcing))


def look(settings: Settings, *, is_announcing: bool) -> None:
    uvloop.run(_look(settings, is_announcing=is_announcing))


def poll(settings: Settings, sources: Sequence[str], *, is_announcing: bool) -> None:
    """:param sources: those that are queues, or none for all of them."""
    uvloop.run(_poll(settings, sources, is_announcing=is_announcing))


async def _serve(settings: Settings, *, is_looking: bool, is_relaying: bool, is_announcing: bool) -> None:
    listener = _listen(settings.server.host, settings.server.port)
    _permit_files()
    async with open_house(settings) as house:
        app = watched(create_app(house.use_cases), house.use_cases.scrape.metrics, house.tracing)
        app = share_with(app, settings.cors.allow_origins)
        server = _Server(_uvicorn_config(app), {"broker": _address(listener)} if is_announcing else None)
        _on_signals(partial(_stop, server, house))
        background = [house.tail.run(), *([house.looker.run(), house.marker.run()] if is_looking else [])]
        background += [house.relay.run()] if is_relaying else []
        await _until_ended(server.serve(sockets=[listener]), background)


def _stop(server: "_Server", house: House) -> None:
    """Streams of events end now: the server waits for open connections."""
    house.tail.close()
    server.stop()


def _permit_files() -> None:
    """As many connections as the system grants us: the usual soft limit of 1,024 is for programs that use `select`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _settle_garbage() -> None:
    """What start-up made lives as long as the process: it need not be looked through again by every full collection,
    which holds all requests for that long: measured 18 ms, and 3 µs after freezing. And what a request makes is gone
    with it, but for few cycles: looking for them after 700 objects, as usual, is a twentieth of a look's CPU."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


async def _look(settings: Settings, *, is_announcing: bool) -> None:
    async with open_house(settings) as house:
        announcement = {"looker": "ready"} if is_announcing else None
        background = [house.looker.run(), house.relay.run(), house.marker.run()]
        await _without_api(house.use_cases, house.tracing, settings.server, background, announcement)


async def _poll(settings: Settings, sources: Sequence[str], *, is_announcing: bool) -> None:
    async with open_polling(settings, sources) as house:
        announcement = {"poller": "ready"} if is_announcing else None
        background = [poller.run() for poller in house.pollers]
        await _without_api(house.watched, house.tracing, settings.server, background, announcement)


async def _without_api(
    watching: Watched,
    tracing: Tracing,
    server_settings: ServerSettings,
    background: list[Coroutine[Any, Any, None]],
    announcement: dict[str, str] | None,
) -> None:
    """Runs `background` until a signal, and answers those who watch it, if a port is set."""
    if server_settings.health_port is None:
        stopped = asyncio.Event()
        _on_signals(stopped.set)
        if announcement:
            announce(announcement)
        await _until_ended(stopped.wait(), background)
        return
    listener = _listen(server_settings.host, server_settings.health_port)
    told = {**announcement, "health": _address(listener)} if announcement else None
    app = watched(create_health_app(watching), watching.scrape.metrics, tracing)
    server = _Server(_uvicorn_config(app), told)
    _on_signals(server.stop)
    await _until_ended(server.serve(sockets=[listener]), background)


async def _until_ended(main: Coroutine[Any, Any, object], background: list[Coroutine[Any, Any, None]]) -> None:
    """Runs `background` as long as `main`; a background task that ends by itself takes the process with it."""
    _settle_garbage()
    tasks = [asyncio.create_task(each) for each in background]
    running = asyncio.create_task(main)
    try:
        await asyncio.wait([running, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and (exc := task.exception()) is not None:
            raise exc
    await running


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


class _Server(uvicorn.Server):
    """A server that leaves signals to us – uvicorn raises them again before our resources are closed – and says when
    it accepts connections."""

    def __init__(self, config: uvicorn.Config, announcement: dict[str, str] | None) -> None:
        super().__init__(config)
        self._announcement = announcement

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _log.info("broker.serving")
        if self._announcement:
            announce(self._announcement)

    def stop(self) -> None:
        """The second call does not wait for connections."""
        self.force_exit = self.should_exit
        self.should_exit = True


def _uvicorn_config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",  # ours runs already
        http=OneWriteProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


def _listen(host: str, port: int) -> socket.socket:
    """:raises ConfigurationInvalid: the port is taken, or the address is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        raise ConfigurationInvalid(
            f"cannot listen on {host}:{port} ({exc.strerror}); "
            "stop what uses it, or choose another with --port or --health-port"
        ) from exc
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def announce(line: dict[str, str]) -> None:
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    sys.stdout.flush()
