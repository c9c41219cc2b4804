"""The uploader against the real thing: broker, looker, consumer and strict store, each a process of its own."""

import asyncio
import hashlib
import json
import random
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from broker.contract import State
from broker.dev.stack import Stack, StackOptions, start_stack
from uploader import BrokerRefused, RetryPolicy, Uploader, upload_file

MIB = 1 << 20
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module", params=["s3", "gcs"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("stack") / "dev"
    policy = {"first_look": "1s"}
    running = start_stack(StackOptions(directory=directory, provider=request.param, policy=policy, log_level="debug"))
    yield running
    running.stop()


@pytest.fixture
async def uploader(stack: Stack) -> AsyncIterator[Uploader]:
    retry = RetryPolicy(attempts=12, first_delay=timedelta(milliseconds=20), longest_delay=timedelta(seconds=1))
    async with Uploader(stack.about.broker, stack.about.api_key, retry=retry) as opened:
        yield opened


@pytest.fixture
def misbehave(stack: Stack) -> Iterator["Misbehave"]:
    control = Misbehave(stack)
    yield control
    control()


class Misbehave:
    """Tells the emulator what to do wrong from now on; without words, nothing."""

    def __init__(self, stack: Stack) -> None:
        self._url = f"{stack.about.store}/_emulator/faults"
        self._names = {"slow_down": "unavailable"} if stack.options.provider == "gcs" else {}

    def __call__(self, **faults: float) -> None:
        """Each is called as S3's emulator calls it."""
        named = {self._names.get(name, name): value for name, value in faults.items()}
        request = urllib.request.Request(self._url, json.dumps(named).encode(), method="PUT")
        with urllib.request.urlopen(request, timeout=10) as response:
            assert response.status == 200


def make(path: Path, size_bytes: int) -> Path:
    path.write_bytes(random.Random(size_bytes).randbytes(size_bytes))
    return path


@pytest.mark.parametrize("size", [0, 1, 70_000, 5 * MIB + 1])
async def test_a_file_is_uploaded_processed_and_comes_back(uploader: Uploader, tmp_path: Path, size: int) -> None:
    path = make(tmp_path / "größe 100%+a.bin", size)
    result = await uploader.put(path, wait="processed", metadata={"case": "17"}, timeout=MINUTE)
    assert (result.state, result.attempts) == (State.PROCESSED, 1)
    assert result.session.result["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    await uploader.get(result.session_id, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("size", [1000, 3 * MIB])
@pytest.mark.parametrize("fault", ["response_lost", "slow_down", "reset_uploads"])
async def test_trouble_of_the_store_ends_verified(
    uploader: Uploader, misbehave: Misbehave, tmp_path: Path, fault: str, size: int
) -> None:
    misbehave(**{fault: 0.5, "seed": size})
    paths = [make(tmp_path / f"{i}.bin", size + i) for i in range(8)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(uploader.put(path, timeout=MINUTE)) for path in paths]
    assert all(task.result().state in {State.VERIFIED, State.PROCESSING, State.PROCESSED} for task in tasks)
    assert sum(task.result().attempts for task in tasks) >= len(tasks)


async def test_downloads_that_break_are_continued(uploader: Uploader, misbehave: Misbehave, tmp_path: Path) -> None:
    path = make(tmp_path / "data.bin", 3 * MIB)
    sent = await uploader.put(path, timeout=MINUTE)
    misbehave(truncated=0.5, reset_downloads=0.3, seed=3)
    await uploader.get(sent.session_id, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("checksum", ["md5", "none"])
async def test_other_checksums_pass_as_well(uploader: Uploader, tmp_path: Path, checksum: str) -> None:
    result = await uploader.put(make(tmp_path / "x", 2 * MIB), checksum=checksum, timeout=MINUTE)  # type: ignore[arg-type]
    assert result.state in {State.VERIFIED, State.PROCESSING, State.PROCESSED}


async def test_what_the_policy_refuses_is_said_with_its_field(uploader: Uploader, tmp_path: Path) -> None:
    with pytest.raises(BrokerRefused, match="/destination") as caught:
        await uploader.put(make(tmp_path / "x", 10), destination="nowhere")
    assert caught.value.problem.code == "unknown-destination"


async def test_a_neighbours_key_sees_nothing(stack: Stack, uploader: Uploader, tmp_path: Path) -> None:
    result = await uploader.put(make(tmp_path / "x", 10), timeout=MINUTE)
    async with Uploader(stack.about.broker, stack.about.consumer_key) as other:
        with pytest.raises(BrokerRefused):
            await other.status(result.session_id)


async def test_ctrl_c_while_sending_leaves_an_aborted_session(
    stack: Stack, uploader: Uploader, misbehave: Misbehave, tmp_path: Path
) -> None:
    misbehave(slow_bytes_per_second=MIB)
    path = make(tmp_path / "film.mkv", 64 * MIB)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uploader", "put", str(path), "--json", "--checksum", "none"),
        env={"BROKER_URL": stack.about.broker, "BROKER_API_KEY": stack.about.api_key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    events = []
    async with asyncio.timeout(30):
        while not events or events[-1]["event"] != "upload.progressed":
            events.append(json.loads(await process.stdout.readline()))
        process.send_signal(signal.SIGINT)
        rest, _ = await process.communicate()
    assert process.returncode == 130
    assert [json.loads(line)["event"] for line in rest.splitlines()[-2:]] == ["upload.aborted", "upload.failed"]
    assert (await uploader.status(events[0]["session_id"])).state is State.ABORTED


def test_the_sync_facade_does_the_same(stack: Stack, tmp_path: Path) -> None:
    path = make(tmp_path / "x.csv", 100)
    result = upload_file(stack.about.broker, stack.about.api_key, path, wait="processed", timeout=MINUTE)
    assert result.state is State.PROCESSED
