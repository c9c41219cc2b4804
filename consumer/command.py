"""Puts a worker together from its settings, and runs it until it is told to stop: the roof of this house."""

import asyncio
import importlib
import os
import signal
import sys
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from consumer import builtin
from consumer.alive import silent, toucher
from consumer.attempt import Attempt
from consumer.client import Broker
from consumer.errors import ConfigurationInvalid, WorkerDied
from consumer.events import Events
from consumer.hardening import hide_memory
from consumer.pool import Pool, environment
from consumer.processors import Processor, Processors, arrange, collect
from consumer.source import Patience
from consumer.tracing import open_tracing
from consumer.worker import Signals, Worker

READ_BUFFER_BYTES = 1_048_576  # measured: a 64 KiB buffer pauses the socket for every second packet


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that an operator may say."""

    broker_url: str
    key: str = field(repr=False)
    module: str | None
    has_builtin: bool
    app_dir: Path
    worker: str
    concurrency: int
    wait_seconds: float
    drain_seconds: float
    idle_seconds: float
    spool_dir: Path | None
    pass_env: tuple[str, ...]
    jobs_per_process: int
    alive_file: Path | None = None


def load(settings: Settings) -> Processors:
    """
    :raises ConfigurationInvalid: no such module, nothing in it, or two that want the same.
    """
    found = _collected(settings.module, settings.app_dir) if settings.module else []
    if settings.has_builtin and not any("*" in each.terms.patterns for each in found):
        found = [*found, *collect(builtin)]
    return arrange(found)


def _collected(name: str, app_dir: Path) -> list[Processor]:
    sys.path.insert(0, str(app_dir))
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            raise
        raise ConfigurationInvalid(f"there is no module {name} in {app_dir} or installed") from exc
    found = collect(module)
    if not found:
        raise ConfigurationInvalid(f"{name} has no function marked with @processor")
    return found


async def work(settings: Settings, processors: Processors, events: Events) -> None:
    """
    :raises ConfigurationInvalid: the broker refuses the key.
    """
    signals = Signals()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.receive)
    async with AsyncExitStack() as stack:
        tracing = open_tracing(os.environ)
        stack.callback(tracing.close)
        # Two sessions: what the broker may see, the store must not.
        control = await stack.enter_async_context(session(limit=settings.concurrency * 3 + 1))
        store = await stack.enter_async_context(session(limit=0))
        answered = toucher(settings.alive_file) if settings.alive_file else silent
        broker = Broker(http=control, url=settings.broker_url.rstrip("/"), key=settings.key, answered=answered)
        attempt = Attempt(
            broker=broker,
            store=store,
            processors=processors,
            pool=await _pool(settings, processors, stack),
            events=events,
            spool=settings.spool_dir,
            patience=Patience(idle_seconds=settings.idle_seconds),
            tracing=tracing,
        )
        await Worker(
            broker=broker,
            attempt=attempt,
            events=events,
            signals=signals,
            name=settings.worker,
            concurrency=settings.concurrency,
            wait_seconds=settings.wait_seconds,
            drain_seconds=settings.drain_seconds,
        ).run()


async def _pool(settings: Settings, processors: Processors, stack: AsyncExitStack) -> Pool:
    pool = Pool(
        module=settings.module or builtin.__name__,
        app_dir=settings.app_dir,
        environ=environment(os.environ, settings.pass_env),
        jobs_per_process=settings.jobs_per_process,
        spool=settings.spool_dir,
    )
    await stack.enter_async_context(aclosing(pool))
    if settings.module:
        # Our first environment and our heap hold the role key, and what parses, or is started to, is the same user.
        hide_memory()
    if processors.needs_pool:
        try:
            await pool.warm()
        except WorkerDied as exc:
            raise ConfigurationInvalid(exc.detail) from exc
    return pool


def session(*, limit: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=limit),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # what was verified is what is stored, not what it unpacks to
        read_bufsize=READ_BUFFER_BYTES,
    )
