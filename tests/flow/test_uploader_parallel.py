"""A tree sent by several processes against the real thing: stores of both providers, and everybody dies once."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from broker.dev.stack import Stack, StackOptions, start_stack
from tests.flow.test_uploader import Misbehave
from uploader import RetryPolicy, TreeOrder, Uploader
from uploader.events import SilentTree
from uploader.transfer.meter import TreeMeter

MIB = 1 << 20
FILES = 300
PATIENT = RetryPolicy(attempts=60, first_delay=timedelta(milliseconds=20), longest_delay=timedelta(seconds=1))


@pytest.fixture(scope="module", params=["s3", "gcs"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("stack") / "dev"
    running = start_stack(StackOptions(directory=directory, provider=request.param, policy={"first_look": "1s"}))
    yield running
    running.stop()


@pytest.fixture
async def uploader(stack: Stack) -> AsyncIterator[Uploader]:
    async with Uploader(stack.about.broker, stack.about.api_key, retry=PATIENT) as opened:
        yield opened


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root, chance = tmp_path / "photos", random.Random(7)
    for number in range(FILES):
        path = root / f"{number % 7}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.choice([0, 100, 4096, 50_000])))
    (root / "large").write_bytes(chance.randbytes(9 * MIB + 5))
    return root


class Onlooker(SilentTree):
    """One that keeps the meter."""

    def __init__(self) -> None:
        self.meter = TreeMeter()

    def on_tree(self, meter: TreeMeter) -> None:
        self.meter = meter

    def has(self, verified_files: int) -> bool:
        return self.meter.verified_files >= verified_files and bool(senders())


def senders() -> list[int]:
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    pids = [int(pid) for file in children for pid in file.read_text().split()]
    return [pid for pid in pids if b"parallel_sender" in cmdline(pid)]


def cmdline(pid: int) -> bytes:
    """Nothing of one that has just ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def paths_of(tree: Path) -> dict[str, int]:
    return {str(path.relative_to(tree.parent)): 1 for path in tree.rglob("*") if path.is_file()}


async def test_whoever_dies_every_file_arrives_once(
    stack: Stack, uploader: Uploader, tree: Path, tmp_path: Path
) -> None:
    misbehave = Misbehave(stack)
    misbehave(slow_down=0.05, seed=5)
    order = TreeOrder(batch="several", mode="parallel", processes=2, timeout=timedelta(minutes=1))
    onlooker, killed = Onlooker(), 0
    run = asyncio.create_task(uploader.put_tree([tree], order, manifest=tmp_path / "m.sqlite", observer=onlooker))
    async with asyncio.timeout(150):
        for number in range(4):
            while not run.done() and not onlooker.has(FILES * number // 8):  # noqa: ASYNC110 - it is other processes
                await asyncio.sleep(0.01)
            for pid in senders()[number % 2 :][:1]:
                os.kill(pid, signal.SIGKILL)
                killed += 1
            if number == 2:
                stack.broker.kill()
                await asyncio.to_thread(stack.broker.start)
        result = await run
    misbehave()
    assert killed
    assert (result.exit_code, result.verified_files, result.error) == (0, FILES + 1, None)
    sessions = [session async for session in uploader.sessions(batch="several")]
    paths = Counter(session.metadata["path"] for session in sessions if session.state != "aborted")  # type: ignore[index]
    assert paths == paths_of(tree)
    assert senders() == []
