"""Resumable uploads against the real thing: broker, ledger, identities and a strict Cloud Storage, each a process."""

import asyncio
import hashlib
import json
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
import yarl

from broker.contract import State
from tests.gcs_world import BUCKET, GcsWorld, gcs_world
from uploader import RetryPolicy, Uploader, UploadResult, events

MIB = 1 << 20
MULTIPLE = 1 << 18
PIECE = 16 * MIB
SIZE = 4 * PIECE + 17
PLACE = "steady"
T = TypeVar("T", bound=events.Event)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsWorld]:
    with gcs_world(tmp_path_factory.mktemp("gcs")) as world:
        yield world


@pytest.fixture
async def uploader(world: GcsWorld) -> AsyncIterator[Uploader]:
    retry = RetryPolicy(attempts=15, first_delay=timedelta(milliseconds=20), longest_delay=timedelta(seconds=1))
    patience = {"stall": timedelta(seconds=1), "answer_timeout": timedelta(seconds=10)}
    async with Uploader(world.url, world.api_key, retry=retry, **patience) as opened:
        yield opened


@pytest.fixture
def store(world: GcsWorld) -> Iterator["Store"]:
    control = Store(world.gcs.endpoint)
    yield control
    control.misbehave()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return marked(tmp_path_factory.mktemp("film") / "größe 100%+a.mkv", SIZE)


class Seen(events.Silent):
    """Remembers, and says when the bytes are about to go: a mint that got into trouble is another subject."""

    def __init__(self, when_minted: Callable[[], None] = lambda: None) -> None:
        self._events: list[events.Event] = []
        self._when_minted = when_minted

    def on_event(self, event: events.Event) -> None:
        self._events.append(event)
        if isinstance(event, events.Minted):
            self._when_minted()

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self._events if isinstance(event, kind)]


class Store:
    """The emulator's control plane."""

    def __init__(self, url: str) -> None:
        self._url = url

    def misbehave(self, **faults: float) -> None:
        """From now on; without words, nothing goes wrong."""
        request = urllib.request.Request(f"{self._url}/_emulator/faults", json.dumps(faults).encode(), method="PUT")
        with urllib.request.urlopen(request, timeout=10) as response:
            assert response.status == 200

    def counters(self) -> Mapping[str, Any]:
        with urllib.request.urlopen(f"{self._url}/_emulator/counters", timeout=10) as response:
            found: dict[str, Any] = json.load(response)
        return found

    def received_bytes(self, key: str) -> int:
        return int(self.counters()["received"][f"{BUCKET}/{key}"])

    async def until_received(self, size_bytes: int) -> None:
        """Until so many bytes more have come."""
        before = self.counters()["bytes_in"]
        async with asyncio.timeout(60):
            while self.counters()["bytes_in"] < before + size_bytes:  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(0.02)


def marked(path: Path, size_bytes: int) -> Path:
    """Holes, and every 256 KiB the place where it is: no piece is like another one."""
    with path.open("wb") as out:
        out.truncate(size_bytes)
        for offset in range(0, size_bytes - 8, MULTIPLE):
            os.pwrite(out.fileno(), offset.to_bytes(8, "big"), offset)
    return path


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def put(uploader: Uploader, path: Path, **wishes: Any) -> UploadResult:
    return await uploader.put(path, **({"destination": PLACE, "strategy": "resumable"} | wishes))


async def is_back(uploader: Uploader, result: UploadResult, path: Path, back: Path) -> bool:
    """What was verified is what was sent."""
    await uploader.get(result.session_id, back, replace=True)
    is_same = await asyncio.to_thread(sha256_of, back) == await asyncio.to_thread(sha256_of, path)
    await asyncio.to_thread(back.unlink)
    return is_same


async def command(world: GcsWorld, state: Path, path: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uploader", "put", str(path), "--json", "--destination", PLACE),
        *("--strategy", "resumable"),
        env={
            "PATH": os.environ["PATH"],
            "XDG_STATE_HOME": str(state),
            "BROKER_URL": world.url,
            "BROKER_API_KEY": world.api_key,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, list[dict[str, Any]], str]:
    async with asyncio.timeout(90):
        out, err = await process.communicate()
    return process.returncode, [json.loads(line) for line in out.splitlines()], (out + err).decode()


def named(told: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [event for event in told if event["event"] == name]
    return found


@pytest.mark.parametrize("strategy", ["resumable", "auto"])
async def test_a_large_file_goes_piece_by_piece_and_each_byte_once(
    uploader: Uploader, store: Store, film: Path, tmp_path: Path, strategy: str
) -> None:
    result = await put(uploader, film, strategy=strategy, checksum="md5", metadata={"case": "17"})
    assert (result.state, result.attempts, store.received_bytes(result.key)) == (State.VERIFIED, 5, SIZE)
    assert await is_back(uploader, result, film, tmp_path / "back")


FAULTS = {
    "unavailable": 0.5,
    "rate_limited": 0.5,
    "unavailable_after_commit": 0.6,
    "response_lost": 0.6,
    "truncated_answer": 1.0,
    "answer_stalled": 0.4,
    "stalled": 0.4,
    "reset_uploads": 0.5,
    "kept_fewer": 0.6,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_trouble_of_the_store_ends_verified_and_what_was_committed_is_not_sent_again(
    uploader: Uploader, store: Store, film: Path, tmp_path: Path, fault: str
) -> None:
    seen = Seen(lambda: store.misbehave(**{fault: FAULTS[fault]}, stall_seconds=2, seed=5))
    result = await put(uploader, film, timeout=timedelta(minutes=1), observer=seen)
    assert (result.state, store.counters()["faults"][fault] > 0) == (State.VERIFIED, True)
    assert result.proved == "md5"
    again = store.received_bytes(result.key) - SIZE
    lossy = {"stalled", "reset_uploads", "kept_fewer"}  # of what had left; the others refuse before or keep it all
    assert again <= (SIZE if fault in lossy else 0)
    assert await is_back(uploader, result, film, tmp_path / "back")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "size_bytes", [512 * MIB, pytest.param(2048 * MIB, marks=pytest.mark.chaos)], ids=["512 MiB", "2 GiB"]
)
async def test_through_everything_at_once_hardly_anything_goes_twice(
    uploader: Uploader, store: Store, tmp_path: Path, size_bytes: int
) -> None:
    path = marked(tmp_path / "large", size_bytes)
    trouble = {"unavailable": 0.03, "unavailable_after_commit": 0.1, "response_lost": 0.05, "truncated_answer": 0.05}
    lossy = {"reset_uploads": 0.05, "stalled": 0.03, "answer_stalled": 0.02, "stall_seconds": 3, "kept_fewer": 0.03}
    seen = Seen(lambda: store.misbehave(**trouble, **lossy, seed=3))
    result = await put(uploader, path, timeout=timedelta(minutes=2), observer=seen)
    store.misbehave()
    again = store.received_bytes(result.key) / size_bytes - 1
    assert (result.state, again <= 0.1) == (State.VERIFIED, True), f"{again:.1%} sent again"
    assert await is_back(uploader, result, path, tmp_path / "back")


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGINT])
async def test_an_ended_command_goes_on_where_the_store_is_and_tells_no_secret(
    world: GcsWorld, uploader: Uploader, store: Store, film: Path, tmp_path: Path, with_signal: signal.Signals
) -> None:
    store.misbehave(slow_bytes_per_second=16 * MIB)
    process = await command(world, tmp_path, film)
    await store.until_received(PIECE + MIB)
    process.send_signal(with_signal)
    code, _, said = await ended(process)
    store.misbehave()
    assert code == (130 if with_signal is signal.SIGINT else -signal.SIGKILL)
    (note,) = (tmp_path / "upload-broker").iterdir()
    session_id = json.loads(note.read_text())["session_id"]
    status = await uploader.status(session_id)
    assert (status.state, bool(status.offset_bytes and status.offset_bytes >= PIECE)) == (State.PENDING, True)
    secrets = [note.read_text(), said]
    code, told, said = await ended(await command(world, tmp_path, film))
    assert code == 0, told
    resumed = named(told, "upload.resumed")
    assert (resumed["session_id"], resumed["size_bytes"]) == (session_id, SIZE)
    assert PIECE <= resumed["stored_bytes"] < SIZE
    assert named(told, "upload.sent")["size_bytes"] == SIZE - resumed["stored_bytes"]
    finished = named(told, "upload.finished")
    assert store.received_bytes(finished["key"]) <= SIZE + PIECE
    assert not [text for text in (*secrets, said) if "upload_id" in text]


async def test_an_upload_that_somebody_cancelled_is_opened_anew(
    world: GcsWorld, uploader: Uploader, store: Store, film: Path, tmp_path: Path
) -> None:
    """The session goes on by another URL, and its bytes from the first."""
    store.misbehave(slow_bytes_per_second=32 * MIB)
    seen = Seen()
    task = asyncio.create_task(put(uploader, film, observer=seen))
    await store.until_received(PIECE + MIB)
    (minted,) = seen.of(events.Minted)
    async with aiohttp.ClientSession() as http:
        again = f"{world.url}/upload-sessions/{minted.session_id}/upload"
        async with http.post(again, headers={"authorization": f"Bearer {world.api_key}"}) as answer:
            url = yarl.URL((await answer.json())["upload"]["request"]["url"], encoded=True)
        async with http.delete(url, headers={"content-length": "0"}) as answer:
            assert answer.status == 499
    store.misbehave()
    result = await task
    assert (result.state, result.session_id, len(seen.of(events.Reminted))) == (State.VERIFIED, minted.session_id, 1)
    assert await is_back(uploader, result, film, tmp_path / "back")
