"""Uploads in parts against the real thing: broker, looker, consumer and strict store, each a process of its own."""

import asyncio
import hashlib
import json
import os
import random
import signal
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.contract import State
from broker.dev.stack import Stack
from uploader import RetryPolicy, Uploader

MIB = 1 << 20
MINUTE = timedelta(minutes=1)
PARTS = 13  # of 16 MiB, the last one of 8
SIZE = 200 * MIB
JOBS = 3


@pytest.fixture
async def uploader(stack: Stack) -> AsyncIterator[Uploader]:
    # A mint whose CreateMultipartUpload went unanswered is in flight for 15 s before the broker opens another.
    retry = RetryPolicy(attempts=24, first_delay=timedelta(milliseconds=20), longest_delay=timedelta(seconds=2))
    async with Uploader(stack.about.broker, stack.about.api_key, retry=retry) as opened:
        yield opened


@pytest.fixture
def store(stack: Stack) -> Iterator["Store"]:
    control = Store(stack.about.store)
    yield control
    control.misbehave()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "größe 100%+a.mkv"
    source = random.Random(1)
    with path.open("wb") as out:
        for _ in range(SIZE // MIB):
            out.write(source.randbytes(MIB))
    return path


class Store:
    """The emulator's control plane."""

    def __init__(self, url: str) -> None:
        self._url = url

    def misbehave(self, **faults: float) -> None:
        """From now on; without words, nothing goes wrong."""
        request = urllib.request.Request(f"{self._url}/_emulator/faults", json.dumps(faults).encode(), method="PUT")
        with urllib.request.urlopen(request, timeout=10) as response:
            assert response.status == 200

    def counters(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self._url}/_emulator/counters", timeout=10) as response:
            found: dict[str, Any] = json.load(response)
        return found

    def part_puts(self) -> int:
        return int(Counter(self.counters()["requests"])["UploadPart"])

    async def until_parts(self, count: int) -> None:
        """Until so many PUTs of parts have begun."""
        async with asyncio.timeout(60):
            while self.part_puts() < count:  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(0.02)


async def put(stack: Stack, state: Path, film: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uploader", "put", str(film), "--json", "--jobs", str(JOBS), *arguments),
        env={
            "PATH": os.environ["PATH"],
            "XDG_STATE_HOME": str(state),
            "BROKER_URL": stack.about.broker,
            "BROKER_API_KEY": stack.about.api_key,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, list[dict[str, Any]]]:
    async with asyncio.timeout(90):
        out, _ = await process.communicate()
    return process.returncode, [json.loads(line) for line in out.splitlines()]


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def named(events: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [event for event in events if event["event"] == name]
    return found


async def test_two_hundred_mebibytes_go_in_parts_and_are_processed(
    uploader: Uploader, store: Store, film: Path, tmp_path: Path
) -> None:
    before = store.part_puts()
    result = await uploader.put(film, wait="processed", metadata={"case": "17"}, timeout=MINUTE)
    digest = sha256_of(film)
    assert (result.state, result.attempts, store.part_puts() - before) == (State.PROCESSED, PARTS, PARTS)
    assert result.proved == "md5"
    assert result.session.result["sha256"] == digest
    await uploader.get(result.session_id, tmp_path / "back")
    assert sha256_of(tmp_path / "back") == digest


async def test_a_killed_uploader_goes_on_and_sends_no_part_twice_but_those_under_way(
    stack: Stack, store: Store, film: Path, tmp_path: Path
) -> None:
    store.misbehave(slow_bytes_per_second=32 * MIB)
    before = store.part_puts()
    process = await put(stack, tmp_path, film)
    await store.until_parts(before + PARTS // 2)
    process.kill()
    await ended(process)
    store.misbehave()
    begun = store.part_puts() - before
    code, events = await ended(await put(stack, tmp_path, film, "--wait", "processed"))
    assert code == 0, events
    resumed = named(events, "upload.resumed")
    assert resumed["part_count"] == PARTS
    assert begun - JOBS <= resumed["stored_parts"] <= begun
    sent = store.part_puts() - before
    assert PARTS <= sent <= PARTS + JOBS
    assert named(events, "upload.sent")["parts"] == PARTS - resumed["stored_parts"]
    assert named(events, "upload.finished")["result"]["sha256"] == sha256_of(film)
    assert list((tmp_path / "upload-broker").iterdir()) == []


async def test_ctrl_c_keeps_the_session_and_the_same_command_goes_on(
    stack: Stack, uploader: Uploader, store: Store, film: Path, tmp_path: Path
) -> None:
    store.misbehave(slow_bytes_per_second=32 * MIB)
    before = store.part_puts()
    process = await put(stack, tmp_path, film)
    await store.until_parts(before + 5)
    process.send_signal(signal.SIGINT)
    code, events = await ended(process)
    store.misbehave()
    kept = named(events, "upload.kept")["session_id"]
    assert (code, events[-1]["event"], events[-1]["code"]) == (130, "upload.failed", "interrupted")
    assert (await uploader.status(kept)).state is State.PENDING
    code, events = await ended(await put(stack, tmp_path, film))
    assert (code, named(events, "upload.finished")["session_id"]) == (0, kept)


@pytest.mark.parametrize("fault", ["response_lost", "slow_down", "reset_uploads", "complete_error"])
async def test_trouble_of_the_store_ends_verified(uploader: Uploader, store: Store, film: Path, fault: str) -> None:
    store.misbehave(**{fault: 0.3, "seed": 5})
    result = await uploader.put(film, timeout=MINUTE)
    assert result.state in {State.VERIFIED, State.PROCESSING, State.PROCESSED}
    assert result.attempts >= PARTS


async def test_a_declared_digest_of_a_large_file_is_proved(uploader: Uploader, film: Path) -> None:
    result = await uploader.put(film, checksum="sha256", wait="processed", timeout=MINUTE)
    assert (result.state, bool(result.checksum.sha256)) == (State.PROCESSED, True)


async def test_an_aborted_upload_in_parts_leaves_no_session_pending(
    stack: Stack, uploader: Uploader, store: Store, film: Path, tmp_path: Path
) -> None:
    store.misbehave(slow_bytes_per_second=32 * MIB)
    before = store.part_puts()
    process = await put(stack, tmp_path, film, "--no-resume")
    await store.until_parts(before + 5)
    process.send_signal(signal.SIGINT)
    code, events = await ended(process)
    session_id = named(events, "upload.aborted")["session_id"]
    assert (code, (await uploader.status(session_id)).state) == (130, State.ABORTED)
