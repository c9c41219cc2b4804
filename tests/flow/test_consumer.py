"""The worker against the real thing: broker, ledger, looker and a strict store that breaks its downloads."""

import asyncio
import hashlib
import json
import os
import random
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from broker.contract import State
from broker.dev.stack import Stack, StackOptions, start_stack
from uploader import Uploader, UploadFailed

ROOT = Path(__file__).parents[2]
MINUTE = timedelta(minutes=1)
BODY = random.Random(3).randbytes(12 << 20)
DIGEST = hashlib.sha256(BODY).hexdigest()

APPLICATION = """
import asyncio, ctypes, hashlib, os
from pathlib import Path
from consumer import Reject, Retry, processor

@processor("x/async")
async def streamed(job, reader):
    digest = hashlib.sha256()
    async for chunk in reader.iter_chunks():
        digest.update(chunk)
    return {"sha256": digest.hexdigest(), "epoch": job.lease.epoch}

@processor("x/plain")
def filed(job, reader):
    with reader.as_file(suffix=".bin") as path, path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "names": sorted(os.environ)}

@processor("x/wait")
async def wait(job, reader):
    while not Path(os.environ["GO"]).exists():
        await asyncio.sleep(0.02)
    return {"epoch": job.lease.epoch}

@processor("x/twice")
async def twice(job, reader):
    if job.attempts.failures < 1:
        raise Retry(0.1, "not yet")
    return {"epoch": job.lease.epoch}

@processor("x/reject")
async def reject(job, reader):
    raise Reject("not a table", code="bad-table")

@processor("x/segfault")
def segfault(job, reader):
    ctypes.string_at(0)
"""


@pytest.fixture(scope="module", params=["s3", "gcs"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Short leases and no consumer: the tests start their own."""
    policy = {"first_look": "1s", "max_failures": 2, "retry_base": "100ms"}
    directory = tmp_path_factory.mktemp("stack") / "dev"
    running = start_stack(
        StackOptions(directory=directory, provider=request.param, consumers=0, lease="3s", policy=policy)
    )
    yield running
    running.stop()


@pytest.fixture
async def uploader(stack: Stack) -> AsyncIterator[Uploader]:
    async with Uploader(stack.about.broker, stack.about.api_key) as opened:
        yield opened


@pytest.fixture
def misbehave(stack: Stack) -> Iterator[Callable[[dict[str, float]], None]]:
    def tell(faults: dict[str, float]) -> None:
        url = f"{stack.about.store}/_emulator/faults"
        request = urllib.request.Request(url, json.dumps(faults).encode(), method="PUT")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    yield tell
    tell({})


Consume = Callable[..., AbstractAsyncContextManager[asyncio.subprocess.Process]]


@pytest.fixture
def consume(stack: Stack, tmp_path: Path) -> Consume:
    """Runs one worker; at the end it is asked to stop, and must."""
    (tmp_path / "application.py").write_text(APPLICATION)

    @asynccontextmanager
    async def running(*options: str) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "consumer", "run", "application", "--app-dir", str(tmp_path), *options),
            cwd=ROOT,
            env=os.environ
            | {
                "BROKER_URL": stack.about.broker,
                "BROKER_CONSUMER_KEY": stack.about.consumer_key,
                "GO": str(tmp_path / "go"),
            },
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
            if process.returncode is None:
                process.terminate()
            async with asyncio.timeout(30):
                _, said = await process.communicate()
            sys.stderr.write(said.decode())  # shown by pytest when the test fails
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()

    return running


async def told(process: asyncio.subprocess.Process, text: bytes) -> bytes:
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while text not in (line := await process.stderr.readline()):
            assert line, "it ended without saying so"
    return line


def epoch_of(line: bytes) -> int:
    """Not always 1: the broker may have leased for a worker that hung up, and taken it back."""
    return int(line.rpartition(b"epoch=")[2])


@pytest.mark.parametrize("kind", ["x/async", "x/plain"])
async def test_every_byte_comes_through_a_store_that_breaks(
    stack: Stack, uploader: Uploader, consume: Consume, misbehave: Callable[[dict[str, float]], None], kind: str
) -> None:
    busy = "unavailable" if stack.options.provider == "gcs" else "slow_down"
    misbehave({"reset_downloads": 0.3, "truncated": 0.3, busy: 0.1, "seed": 5})
    async with consume():
        results = await asyncio.gather(
            *(
                uploader.put(BODY, filename=f"{n}.bin", content_type=kind, wait="processed", timeout=MINUTE)
                for n in range(3)
            )
        )
    assert {result.session.result["sha256"] for result in results} == {DIGEST}
    assert {result.session.attempts.failures for result in results} == {0}
    if kind == "x/plain":
        names = set(results[0].session.result["names"])
        assert not {name for name in names if name.startswith(("BROKER", "AWS", "GOOGLE", "REDIS", "DEV_"))}


async def test_a_job_outlives_the_worker_that_was_killed(uploader: Uploader, consume: Consume, tmp_path: Path) -> None:
    putting = asyncio.create_task(
        uploader.put(b"x", filename="a", content_type="x/wait", wait="processed", timeout=MINUTE)
    )
    async with consume() as first:
        epoch = epoch_of(await told(first, b"event=job.leased"))
        first.kill()
        await first.wait()
    (tmp_path / "go").touch()
    async with consume():
        result = await putting
    assert result.session.result["epoch"] > epoch
    assert result.session.attempts.failures == 0
    assert [step.state for step in result.session.timeline].count(State.PROCESSED) == 1


async def test_a_worker_that_stops_gives_its_job_to_the_next_without_blame(
    uploader: Uploader, consume: Consume, tmp_path: Path
) -> None:
    putting = asyncio.create_task(
        uploader.put(b"x", filename="a", content_type="x/wait", wait="processed", timeout=MINUTE)
    )
    async with consume("--drain-seconds", "0") as first:
        epoch = epoch_of(await told(first, b"event=job.leased"))
        first.terminate()
        await told(first, b"event=job.drained")
    (tmp_path / "go").touch()
    async with consume():
        result = await putting
    attempts = result.session.attempts
    assert result.session.result["epoch"] > epoch
    assert (attempts.failures, attempts.lost_leases, attempts.infrastructure) == (0, 0, 0)


async def test_a_lease_is_held_for_longer_than_its_life(
    stack: Stack, uploader: Uploader, consume: Consume, tmp_path: Path
) -> None:
    """Twice the lease's three seconds, and a broker that dies meanwhile: the epoch stays the same."""
    putting = asyncio.create_task(
        uploader.put(b"x", filename="a", content_type="x/wait", wait="processed", timeout=MINUTE)
    )
    async with consume() as worker:
        epoch = epoch_of(await told(worker, b"event=job.leased"))
        done, _ = await asyncio.wait({putting}, timeout=6)
        assert not done
        await asyncio.to_thread(stack.broker.kill)
        (tmp_path / "go").touch()
        await told(worker, b"event=broker.away")
        await asyncio.to_thread(stack.broker.start)
        await told(worker, b"event=job.processed")
        result = await putting
    assert result.session.result == {"epoch": epoch}


async def test_retry_comes_back_and_reject_ends(uploader: Uploader, consume: Consume) -> None:
    async with consume():
        result = await uploader.put(b"x", filename="a", content_type="x/twice", wait="processed", timeout=MINUTE)
        assert result.session.attempts.failures == 1
        with pytest.raises(UploadFailed, match="not a table"):
            await uploader.put(b"x", filename="a", content_type="x/reject", wait="processed", timeout=MINUTE)


async def test_a_parser_that_crashes_is_buried_after_its_failures_and_hurts_nobody(
    uploader: Uploader, consume: Consume
) -> None:
    async with consume():
        crashing = uploader.put(b"x", filename="a", content_type="x/segfault", wait="processed", timeout=MINUTE)
        healthy = uploader.put(BODY, filename="b", content_type="x/plain", wait="processed", timeout=MINUTE)
        crashed, well = await asyncio.gather(crashing, healthy, return_exceptions=True)
    assert isinstance(crashed, UploadFailed)
    assert "died" in str(crashed)
    assert not isinstance(well, BaseException)
    assert well.session.result["sha256"] == DIGEST
