"""`uploader put` to several destinations, as a person runs it: killed, with an account away, and read back."""

import asyncio
import hashlib
import json
import os
import random
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.contract import State
from tests.flow.fan_out_accounts import World, emulated, running_world
from uploader import Notes, RetryPolicy, Uploader

MIB = 1 << 20
ALL = ("ap", "eu", "us")  # the one that may go down is the first, from which is read if nothing else is said
SIZE = 9 * MIB + 5
IMPATIENT = RetryPolicy(attempts=2, first_delay=timedelta(milliseconds=20), longest_delay=timedelta(milliseconds=100))
README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.fixture
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Needs as many copies as the test says by its parameter, else all."""
    required = str(getattr(request, "param", '"all"'))
    with ExitStack() as stack:
        emulators = {name: stack.enter_context(emulated(tmp_path / name)) for name in ALL}
        accounts = {name: emulator.account for name, emulator in emulators.items()}
        async with running_world(accounts, emulators["ap"], tmp_path, required=required) as running:
            yield running


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mkv"
    path.write_bytes(random.Random(3).randbytes(SIZE))
    return path


class Command:
    """The environment of one user."""

    def __init__(self, world: World, home: Path) -> None:
        self.notes = home / "state" / "upload-broker"
        self.env = {
            "PATH": os.environ["PATH"],
            "XDG_STATE_HOME": str(home / "state"),
            "BROKER_URL": world.url,
            "BROKER_API_KEY": world.api_key,
        }

    async def begin(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "uploader", *arguments),
            env=self.env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str) -> tuple[int | None, str, str]:
        return await ended(await self.begin(*arguments))

    async def put(self, path: Path, *arguments: str) -> tuple[int | None, str, str]:
        return await self.run("put", str(path), *to_all(), *arguments)


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def to_all() -> list[str]:
    return [word for name in ALL for word in ("--destination", name)]


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(90):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def command(world: World, tmp_path: Path) -> Command:
    return Command(world, tmp_path)


async def states(world: World, session_id: str) -> dict[str, State]:
    async with Uploader(world.url, world.api_key) as uploader:
        session = await uploader.status(session_id)
    return {copy.destination: copy.state for copy in session.copies or []}


async def test_a_killed_command_goes_on_and_sends_nothing_to_those_who_have_it(
    world: World, command: Command, film: Path
) -> None:
    world.mortal.misbehave(slow_bytes_per_second=MIB)
    process = await command.begin("put", str(film), *to_all(), "--json")
    assert process.stdout is not None
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        while len([each for each in seen if each.get("destination") and each.get("state") == "verified"]) < 2:
            seen.append(json.loads(await process.stdout.readline()))
    process.send_signal(signal.SIGKILL)
    await ended(process)
    world.mortal.misbehave()
    (session_id,) = {each["session_id"] for each in seen if each["event"] == "upload.minted"}
    assert (await states(world, session_id))["ap"] is State.PENDING
    code, out, err = await command.put(film, "--wait", "processed")
    assert code == 0, err
    assert out.startswith(f"{session_id} processed 3 of 3 copies: ap,eu,us ")
    assert "resumed: 2 of 3 copies were there" in err
    assert "sha256" not in err  # nothing is hashed again
    for name in ("eu", "us"):
        assert sum(world.proxies[name].body_bytes.values()) == SIZE


@pytest.mark.parametrize("world", [2], indirect=True)
async def test_enough_copies_are_processed_the_missing_one_is_sent_later_and_any_can_be_read(
    world: World, command: Command, film: Path, tmp_path: Path
) -> None:
    world.mortal.kill()
    async with Uploader(world.url, world.api_key, retry=IMPATIENT, notes=Notes(command.notes)) as uploader:
        result = await uploader.put(film, destinations=ALL, wait="processed")
    assert (result.state, [copy.destination for copy in result.missing]) == (State.PROCESSED, ["ap"])
    world.mortal.start()
    code, out, err = await command.put(film)
    assert (code, out.split()[0]) == (0, result.session_id), err
    assert set((await states(world, result.session_id)).values()) == {State.VERIFIED}
    for name in ("eu", "us"):
        assert sum(world.proxies[name].body_bytes.values()) == SIZE
    world.mortal.kill()
    code, out, err = await command.run("get", result.session_id, "-o", str(tmp_path / "back"))
    assert (code, sha256_of(tmp_path / "back")) == (0, sha256_of(film)), err
    code, out, _ = await command.run("status", result.session_id)
    assert code == 0
    assert len(re.findall(r"^  (?:ap|eu|us): tenant/uploads/.*/film\.mkv verified$", out, re.MULTILINE)) == 3


async def test_what_no_store_can_prove_is_said_with_the_stores(command: Command, film: Path) -> None:
    code, _, err = await command.put(film, "--checksum", "none")
    assert code == 3
    assert "[checksum-not-provable, 422]" in err
    assert "/checksum" in err


async def test_the_lines_of_the_readme_do_what_they_say(command: Command, tmp_path: Path) -> None:
    found = re.search(r"^## The uploader$.*?^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found is not None
    room = tmp_path / "room"
    (room / "photos").mkdir(parents=True)
    (room / "photos" / "one.jpg").write_bytes(b"jpeg")
    (room / "film.mkv").write_bytes(b"film" * 1000)
    bins = str(Path(sys.executable).parent)
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", found[1]),
        cwd=room,
        env=command.env | {"PATH": f"{bins}:{command.env['PATH']}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    code, out, err = await ended(process)
    assert code == 0, err
    assert sha256_of(room / "back.mkv") == sha256_of(room / "film.mkv")
    assert " 2 of 2 copies: eu,us " in out
