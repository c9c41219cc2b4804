"""Many files to three accounts at once, one of which goes down half-way and comes back.

The counts are taken at a proxy in front of each account, what is stored is told by a client that is not ours.
"""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from broker.contract import State
from tests.flow.fan_out_accounts import Account, Emulator, World, ceph_account, emulated, running_world
from uploader import CopiesMissing, Notes, RetryPolicy, Uploader, UploadResult, events

FILES = 200
AT_A_TIME = 8
ALL = ("eu", "us", "ap")
HEALTHY = ("eu", "us")
MINUTE = timedelta(minutes=1)
IMPATIENT = RetryPolicy(attempts=2, first_delay=timedelta(milliseconds=20), longest_delay=timedelta(milliseconds=100))

Accounts = tuple[dict[str, Account], Emulator]


@pytest.fixture(params=["three emulators", "two accounts of Ceph and an emulator"])
def accounts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Accounts]:
    with ExitStack() as stack:
        mortal = stack.enter_context(emulated(tmp_path / "ap"))
        if request.param == "three emulators":
            found = {name: stack.enter_context(emulated(tmp_path / name)).account for name in HEALTHY}
        else:
            ceph = request.getfixturevalue("ceph")
            found = {
                "eu": ceph_account(ceph, ceph.owner, ceph.writer),
                "us": ceph_account(ceph, ceph.writer, ceph.owner),
            }
        yield found | {"ap": mortal.account}, mortal


@pytest.fixture
async def world(accounts: Accounts, tmp_path: Path) -> AsyncIterator[World]:
    found, mortal = accounts
    async with running_world(found, mortal, tmp_path) as running:
        yield running


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Most are small; some go through a thread, some through the window."""
    chance = random.Random(5)
    directory = tmp_path / "files"
    directory.mkdir()
    made = [directory / f"größe {number}.bin" for number in range(FILES)]
    for number, path in enumerate(made):
        size = {0: 0, 7: 300_000, 13: 3 << 20}.get(number % 20, chance.randrange(1, 20_000))
        path.write_bytes(chance.randbytes(size))
    return made


class Hashes(events.Silent):
    """How often each file was hashed."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Hashed):
            self.files.append(event.file)


class Putting:
    """The same command for every file, some at a time."""

    def __init__(self, world: World, state: Path) -> None:
        self._world = world
        self._state = state
        self.hashes = Hashes()
        self.done: dict[Path, UploadResult] = {}
        self.failed: dict[Path, CopiesMissing] = {}

    async def run(self, paths: list[Path]) -> None:
        turns = asyncio.Semaphore(AT_A_TIME)
        async with (
            Uploader(self._world.url, self._world.api_key, retry=IMPATIENT, notes=Notes(self._state)) as uploader,
            asyncio.TaskGroup() as group,
        ):
            for path in paths:
                group.create_task(self._put(uploader, path, turns))

    async def _put(self, uploader: Uploader, path: Path, turns: asyncio.Semaphore) -> None:
        async with turns:
            try:
                self.done[path] = await uploader.put(
                    path, destinations=ALL, wait="processed", timeout=MINUTE, observer=self.hashes
                )
                self.failed.pop(path, None)
            except CopiesMissing as exc:
                self.failed[path] = exc
            if len(self.done) == FILES // 2 and not self.failed:
                self._world.mortal.kill()


@pytest.mark.timeout(300)
async def test_two_hundred_files_to_three_accounts_one_of_which_fails_half_way_and_comes_back(
    world: World, files: list[Path], tmp_path: Path
) -> None:
    sizes = {path.name: path.stat().st_size for path in files}
    putting = Putting(world, tmp_path / "notes")
    await putting.run(files)
    assert FILES // 2 <= len(putting.done) < FILES // 2 + AT_A_TIME
    assert {tuple(error.missing) for error in putting.failed.values()} == {("ap",)}
    world.mortal.start()
    await putting.run(list(putting.failed))

    assert (len(putting.done), putting.failed) == (FILES, {})
    assert sorted(putting.hashes.files) == sorted(sizes)
    for name in HEALTHY:  # exactly one PUT for each file, and no byte more than they hold
        proxy = world.proxies[name]
        assert (len(proxy.puts), set(proxy.puts.values())) == (FILES, {1})
        assert sum(proxy.body_bytes.values()) == sum(sizes.values())
    async with Uploader(world.url, world.api_key) as uploader:
        for result in putting.done.values():
            session = await uploader.status(result.session_id)
            assert session.state is State.PROCESSED
            assert {copy.state for copy in session.copies or []} == {State.VERIFIED}
    for name, account in world.accounts.items():
        stored = await asyncio.to_thread(account.stored)
        expected = {}
        for path, result in putting.done.items():
            (copy,) = [copy for copy in result.copies if copy.destination == name]
            data = path.read_bytes()
            expected[copy.key] = (len(data), hashlib.md5(data, usedforsecurity=False).hexdigest())
        assert stored == expected
    assert list((tmp_path / "notes").glob("*")) == []


async def test_a_slow_account_slows_no_other(world: World, tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    path.write_bytes(random.Random(1).randbytes(24 << 20))
    world.mortal.misbehave(slow_bytes_per_second=6 << 20)
    sent = Sent()
    async with Uploader(world.url, world.api_key) as uploader:
        result = await uploader.put(path, destinations=ALL, timeout=MINUTE, observer=sent)
    assert {copy.state for copy in result.copies} == {State.VERIFIED}
    assert sent.seconds["ap"] >= 3.5
    assert max(sent.seconds[name] for name in HEALTHY) < sent.seconds["ap"] / 2, sent.seconds


class Sent(events.Silent):
    """How long the bytes took to each destination."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Sent):
            self.seconds[str(event.destination)] = event.seconds
