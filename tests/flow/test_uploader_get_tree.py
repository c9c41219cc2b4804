"""Trees there and back against the real thing: broker and strict store of both providers, each a process of its own."""

import asyncio
import os
import random
import signal
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from broker.dev.stack import Stack, StackOptions, start_stack
from tests.flow.test_uploader import Misbehave
from uploader import BrokerRefused, RetryPolicy, TreeOrder, Uploader
from uploader.removal import Removed

MIB = 1 << 20
MINUTE = timedelta(minutes=1)
PATIENT = RetryPolicy(attempts=12, first_delay=timedelta(milliseconds=20), longest_delay=timedelta(seconds=1))
NAMES = [b"plain", "größe 100%+a".encode(), b"caf\xe9", b"new\nline", b"\x1b[2J", "\u202egpj.exe".encode(), b"x" * 200]
SIZES = [0, 1, 4096, 70_000, MIB, 9 * MIB + 5]


@pytest.fixture(scope="module", params=["s3", "gcs"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("stack") / "dev"
    policy = {"first_look": "1s"}
    running = start_stack(StackOptions(directory=directory, provider=request.param, policy=policy))
    yield running
    running.stop()


@pytest.fixture
async def uploader(stack: Stack) -> AsyncIterator[Uploader]:
    async with Uploader(stack.about.broker, stack.about.api_key, retry=PATIENT) as opened:
        yield opened


@pytest.fixture
def misbehave(stack: Stack) -> Iterator[Misbehave]:
    control = Misbehave(stack)
    yield control
    control()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Every name with every size below 1 MiB, and the large ones once; each file with its own time and permissions."""
    root = tmp_path / "photos"
    chance = random.Random(7)
    for number, (name, size) in enumerate((name, size) for name in NAMES for size in SIZES):
        if size > MIB and name is not NAMES[0]:
            continue
        path = root / f"{number % 3}" / "deep" / os.fsdecode(name + str(size).encode())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(size))
        path.chmod(chance.choice([0o600, 0o640, 0o444, 0o755, 0o4711]))
        os.utime(path, ns=(0, chance.choice([-1_500_000_000, 1, 1_700_000_000_123_456_789, 2_000_000_000_000_000_000])))
    return root


def told(root: Path) -> dict[bytes, tuple[bytes, int, int]]:
    """Bytes, modification time and permissions of all that is below."""
    found = {}
    for path in root.rglob("*"):
        if path.is_file():
            seen = path.stat()
            below = os.fsencode(path.relative_to(root.parent))
            found[below] = (path.read_bytes(), seen.st_mtime_ns, stat.S_IMODE(seen.st_mode) & 0o777)
    return found


async def sent(uploader: Uploader, root: Path, batch: str, manifest: Path) -> int:
    order = TreeOrder(batch=batch, timeout=MINUTE)
    async with asyncio.timeout(120):
        result = await uploader.put_tree([root], order, manifest=manifest)
    assert result.exit_code == 0, result
    return len(told(root))


async def test_a_tree_comes_back_as_it_was(
    uploader: Uploader, misbehave: Misbehave, photos: Path, tmp_path: Path
) -> None:
    number = await sent(uploader, photos, "whole", tmp_path / "m.sqlite")
    misbehave(truncated=0.2, reset_downloads=0.1, seed=5)
    out = tmp_path / "out"
    async with asyncio.timeout(120):
        result = await uploader.get_tree(out, batch="whole")
    misbehave()
    assert (result.exit_code, result.saved_files, result.failures) == (0, number, ())
    assert told(out / "photos") == told(photos)
    again = await uploader.get_tree(out, batch="whole")
    assert (again.skipped_files, again.saved_files, again.exit_code) == (number, 0, 0)
    other = await uploader.get_tree(tmp_path / "other", manifest=tmp_path / "m.sqlite")
    assert (other.saved_files, other.exit_code) == (number, 0)
    assert told(tmp_path / "other" / "photos") == told(photos)


async def test_a_file_that_was_uploaded_again_comes_back_in_its_newest_version(
    uploader: Uploader, tmp_path: Path
) -> None:
    root = tmp_path / "docs"
    root.mkdir()
    for text in ("old", "newest"):
        (root / "a.txt").write_text(text)
        os.utime(root / "a.txt", ns=(0, len(text) * 1_000_000_000))
        await sent(uploader, root, "again", tmp_path / "m.sqlite")
    result = await uploader.get_tree(tmp_path / "out", batch="again")
    assert (result.saved_files, result.older_files, result.exit_code) == (1, 1, 0)
    assert (tmp_path / "out/docs/a.txt").read_text() == "newest"


async def test_hostile_paths_stay_outside(uploader: Uploader, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path)
    paths = ["../up", "/abs", "link/through", "a/../../up", "good/file"]
    for path in paths:
        await uploader.put(b"bytes", filename="x", metadata={"path": path}, batch="hostile", timeout=MINUTE)
    result = await uploader.get_tree(tmp_path / "out", batch="hostile", replace=True)
    assert (result.saved_files, result.failed_files, result.exit_code) == (1, 4, 1)
    assert {os.fsdecode(path) for path in told(tmp_path)} == {f"{tmp_path.name}/out/good/file"}
    assert (tmp_path / "out/good/file").read_bytes() == b"bytes"


async def test_a_get_that_is_killed_again_and_again_ends_whole(
    stack: Stack, uploader: Uploader, misbehave: Misbehave, photos: Path, tmp_path: Path
) -> None:
    batch, out = f"killed-{stack.options.provider}", tmp_path / "out"
    number = await sent(uploader, photos, batch, tmp_path / "m.sqlite")
    misbehave(slow_bytes_per_second=20 * MIB)
    chance = random.Random(3)
    environment = {"PATH": os.environ["PATH"], "BROKER_URL": stack.about.broker, "BROKER_API_KEY": stack.about.api_key}
    arguments = (sys.executable, "-m", "uploader", "get", "--batch", batch, "-o", str(out))
    for _ in range(4):
        process = await asyncio.create_subprocess_exec(*arguments, env=environment, stderr=asyncio.subprocess.DEVNULL)
        try:
            async with asyncio.timeout(0.6 + chance.random()):
                await process.wait()
        except TimeoutError:
            process.send_signal(signal.SIGKILL)
            await process.wait()
    misbehave()
    result = await uploader.get_tree(out, batch=batch)
    assert (result.exit_code, result.saved_files + result.skipped_files) == (0, number)
    assert told(out / "photos") == told(photos)  # and no part is left


async def test_a_batch_is_listed_and_removed(uploader: Uploader, photos: Path, tmp_path: Path) -> None:
    number = await sent(uploader, photos, "away", tmp_path / "m.sqlite")
    sessions = [session async for session in uploader.sessions(batch="away")]
    assert len(sessions) == number
    assert sorted(sessions, key=lambda session: session.created_at, reverse=True) == sessions
    assert {await uploader.remove(session) for session in sessions} <= {Removed.ERASED, Removed.ERASING}
    result = await uploader.get_tree(tmp_path / "out", batch="away")
    assert (result.absent, result.saved_files) == ({"erased": number}, 0)
    assert [each.id async for each in uploader.sessions(batch="away", limit=3)] == [each.id for each in sessions[:3]]


async def test_a_strangers_key_removes_nothing(stack: Stack, uploader: Uploader, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"bytes")
    settled = await uploader.put(path, timeout=MINUTE)
    async with Uploader(stack.about.broker, stack.about.consumer_key) as stranger:
        with pytest.raises(BrokerRefused):
            await stranger.remove(settled.session_id)
    await uploader.get(settled.session_id, tmp_path / "back")
