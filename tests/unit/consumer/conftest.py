"""Fixtures of the worker's suites: the stand-in served on loopback, and the worker's parts aimed at it."""

import asyncio
import base64
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from consumer_standin import KEY, PATIENT_SECONDS, Fault, Standin, as_processor, served

from broker import contract
from consumer.attempt import Attempt
from consumer.backoff import Backoff
from consumer.client import Broker, Granted
from consumer.command import session
from consumer.digests import Prover
from consumer.events import Events
from consumer.pool import Pool, environment
from consumer.processors import Processors, arrange
from consumer.remote import RemoteReader
from consumer.source import Patience, Source
from consumer.tenure import Tenure
from consumer.worker import Signals, Worker

MOMENT = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
async def standin() -> AsyncIterator[Standin]:
    state = Standin()
    async with served(state) as port:
        state.url = f"http://127.0.0.1:{port}"
        yield state


@pytest.fixture
def fault() -> type[Fault]:
    return Fault


@pytest.fixture
def lines() -> list[str]:
    """Everything that the worker logged."""
    return []


@pytest.fixture
def told() -> asyncio.Event:
    """Set by every logged line."""
    return asyncio.Event()


@pytest.fixture
def events(lines: list[str], told: asyncio.Event) -> Events:
    def write(line: str) -> None:
        lines.append(line)
        told.set()

    return Events(write=write, now=lambda: MOMENT)


@pytest.fixture
def until_logged(lines: list[str], told: asyncio.Event) -> Callable[[str], Awaitable[str]]:
    """Waits for a line that holds some text."""

    async def wait(text: str) -> str:
        async with asyncio.timeout(PATIENT_SECONDS):
            while not (found := [line for line in lines if text in line]):
                told.clear()
                await told.wait()
        return found[0]

    return wait


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with session(limit=0) as opened:
        yield opened


@pytest.fixture
def broker(standin: Standin, http: aiohttp.ClientSession) -> Broker:
    return Broker(http=http, url=standin.url, key=KEY)


@pytest.fixture
def patience() -> Patience:
    return Patience(idle_seconds=0.3, tries=4, backoff=Backoff(base_seconds=0.001, limit_seconds=0.01))


Lend = Callable[[], Awaitable[tuple[Granted, Tenure]]]


@pytest.fixture
def lend(broker: Broker, events: Events) -> Lend:
    """Leases the next job without a worker."""

    async def lend() -> tuple[Granted, Tenure]:
        (granted,) = await broker.lease(1, wait_seconds=0, worker="test")
        return granted, Tenure(broker=broker, events=events, job_id=granted.job.id, grant=granted.grant)

    return lend


@pytest.fixture
def processes() -> Callable[..., Processors]:
    """Processors of one function."""

    def one(function: Callable[..., Any], *, timeout: float | None = 10) -> Processors:
        return arrange([as_processor(function, timeout=timeout)])

    return one


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[Pool]:
    """Runs the plain functions of `parsers.py` in the test's own directory."""
    environ = environment(os.environ | {"BROKER_CONSUMER_KEY": KEY, "TMPDIR": str(tmp_path)}, ("BROKER_CONSUMER_KEY",))
    module = Pool(module="parsers", app_dir=tmp_path, environ=environ, spool=tmp_path)
    async with contextlib.aclosing(module) as opened:
        yield opened


@pytest.fixture
async def start(
    broker: Broker, http: aiohttp.ClientSession, events: Events, pool: Pool, patience: Patience
) -> AsyncIterator[Callable[..., tuple[Signals, asyncio.Task[None]]]]:
    """Starts a worker over some processors; at the end of the test it is told to hurry."""
    signals, running = Signals(), []

    def begin(processors: Processors, *, concurrency: int = 4, drain_seconds: float = 10.0) -> Any:
        attempt = Attempt(broker=broker, store=http, processors=processors, pool=pool, events=events, patience=patience)
        worker = Worker(
            broker=broker,
            attempt=attempt,
            events=events,
            signals=signals,
            name="test",
            concurrency=concurrency,
            wait_seconds=5,
            drain_seconds=drain_seconds,
            backoff=Backoff(base_seconds=0.01, limit_seconds=0.05),
        )
        running.append(asyncio.create_task(worker.run()))
        return signals, running[-1]

    yield begin
    signals.receive()
    signals.receive()
    async with asyncio.timeout(PATIENT_SECONDS):
        await asyncio.gather(*running, return_exceptions=True)


@pytest.fixture
def digests() -> Callable[[bytes], contract.Checksum]:
    def of(body: bytes) -> contract.Checksum:
        return contract.Checksum(
            sha256=base64.b64encode(hashlib.sha256(body).digest()).decode(),
            md5=base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),
        )

    return of


OpenReader = Callable[[], Awaitable[RemoteReader]]


@pytest.fixture
def open_reader(lend: Lend, http: aiohttp.ClientSession, patience: Patience, tmp_path: Path) -> OpenReader:
    """The reader of the next job."""

    async def opened() -> RemoteReader:
        granted, tenure = await lend()
        job = granted.job
        source = Source(
            http=http,
            tenure=tenure,
            size_bytes=job.size_bytes,
            etag=job.etag,
            version=job.version,
            patience=patience,
        )
        return RemoteReader(source, lambda: Prover(job.prove, job.checksum), tmp_path)

    return opened
