"""Trees sent by several processes: the same promises, whoever of them dies."""

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from many_standin import Many, ManyParts
from put_command import finished, put_command
from tree_manifests import rows, states, write
from tree_tools import Onlooker
from uploader_standin import KEY, QUICK, serving

from uploader import BrokerRefused, TreeOrder, Uploader, events
from uploader.transfer.parallel_wire import Begin

PARALLEL = TreeOrder(mode="parallel", processes=2)
FILES = 60
COMMAND = ("--mode", "parallel", "--processes", "2", "--json")


@pytest.fixture
async def many() -> AsyncIterator[Many]:
    async with serving(Many()) as started:
        assert isinstance(started, Many)
        yield started


@pytest.fixture
async def uploader(many: Many) -> AsyncIterator[Uploader]:
    async with Uploader(many.broker_url, KEY, retry=QUICK, stall=timedelta(seconds=2)) as opened:
        yield opened


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for number in range(FILES):
        write(root / f"{number % 3}" / f"{number}.jpg", 100 + number)
    return root


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tmp_path / "manifest.sqlite"


def senders(of: int = 0) -> list[int]:
    """The sender processes of a process, by default of this one."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1]) if entry.name.isdigit() else 0
            if parent == (of or os.getpid()) and b"parallel_sender" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except (OSError, ValueError, IndexError):
            continue
    return found


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def shown_of(pid: int) -> bytes:
    """What others may read of it."""
    return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))


async def test_every_file_is_verified_and_no_process_is_left(
    uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    onlooker = Onlooker(wants_files=True)
    result = await uploader.put_tree([tree], PARALLEL, manifest=manifest, observer=onlooker)
    assert (result.verified_files, result.sent_files, result.exit_code, result.error) == (FILES, FILES, 0, None)
    assert set(states(manifest).values()) == {"verified"}
    assert many.paths() == {f"photos/{number % 3}/{number}.jpg": 1 for number in range(FILES)}
    assert len(many.puts) == FILES
    assert len(onlooker.of(events.FileVerified)) == FILES
    meter = onlooker.meter
    assert (meter.sent_files, meter.verified_files, meter.todo_files) == (FILES, FILES, FILES)
    assert (meter.concurrency, meter.limit, meter.large) == (0, 0, [])
    assert result.sending > timedelta()
    assert senders() == []


async def test_a_tree_that_has_not_changed_starts_no_process(
    uploader: Uploader, tree: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await uploader.put_tree([tree], PARALLEL, manifest=manifest)
    before = rows(manifest)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("uploader.transfer.parallel_process.subprocess.Popen", refuse)
    result = await uploader.put_tree([tree], PARALLEL, manifest=manifest)
    assert (result.sent_files, result.unchanged_files, result.exit_code) == (0, FILES, 0)
    assert rows(manifest) == before


async def test_both_modes_go_on_with_what_the_other_has_left(
    uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    many.store_faults.extend(["refuse-early"] * 10)
    first = await uploader.put_tree([tree], PARALLEL, manifest=manifest)
    assert (first.failed_files, first.exit_code) == (10, 1)
    write(tree / "new", 10)
    second = await uploader.put_tree([tree], manifest=manifest)
    assert (second.sent_files, second.verified_files) == (1, FILES - 10 + 1)


async def test_large_files_go_in_parts(tmp_path: Path, manifest: Path) -> None:
    root = tmp_path / "films"
    write(root / "small", 10)
    write(root / "large", 5 << 20)
    async with (
        serving(ManyParts(part_size_bytes=2 << 20)) as parted,
        Uploader(parted.broker_url, KEY, retry=QUICK) as uploader,
    ):
        result = await uploader.put_tree([root], PARALLEL, manifest=manifest)
    assert (result.verified_files, result.exit_code) == (2, 0)
    assert result.sent_bytes == 10 + (5 << 20)


async def test_a_file_that_changes_is_seen_again(uploader: Uploader, many: Many, tree: Path, manifest: Path) -> None:
    """What a sender finds is merged by the parent, as a scan would."""
    changing, is_changed = tree / "0" / "0.jpg", False

    def change() -> None:
        nonlocal is_changed
        if not is_changed:
            is_changed = True
            for path in tree.rglob("*.jpg"):
                write(path, path.stat().st_size + 1)

    original = many._batch

    async def batch(request: Any) -> Any:
        change()
        return await original(request)

    many._batch = batch  # type: ignore[method-assign]
    many.broker_faults["batch"].append("busy")
    result = await uploader.put_tree([tree], PARALLEL, manifest=manifest)
    assert result.verified_files == FILES
    assert changing.exists()


# --- death


class Deadly(Many):
    """Kills a sender at some of the calls that broker and store hear, before they do anything."""

    def __init__(self, at: set[int], number: signal.Signals = signal.SIGKILL) -> None:
        super().__init__()
        self.heard = 0
        self.killed = 0
        self._at = at
        self._number = number

    async def _mint(self, request: Any) -> Any:
        self._hear()
        return await super()._mint(request)

    async def _complete(self, request: Any) -> Any:
        self._hear()
        return await super()._complete(request)

    async def _serve_put(self, *args: Any) -> bool:
        self._hear()
        return await super()._serve_put(*args)

    def _hear(self) -> None:
        self.heard += 1
        if self.heard in self._at and (alive := senders()):
            self.killed += 1
            os.kill(alive[self.heard % len(alive)], self._number)


@pytest.mark.parametrize("at", [{1}, {70}, {150}, {1, 30, 65, 90, 120, 160}])
async def test_whichever_sender_is_killed_whenever_everything_arrives_once(
    tree: Path, manifest: Path, at: set[int]
) -> None:
    async with serving(Deadly(at)) as deadly, Uploader(deadly.broker_url, KEY, retry=QUICK) as uploader:
        async with asyncio.timeout(60):
            result = await uploader.put_tree([tree], PARALLEL, manifest=manifest)
    assert isinstance(deadly, Deadly)
    assert deadly.killed
    assert (result.verified_files, result.exit_code, result.error) == (FILES, 0, None)
    assert deadly.paths() == {f"photos/{number % 3}/{number}.jpg": 1 for number in range(FILES)}
    assert senders() == []


async def test_senders_that_always_die_end_the_run(tree: Path, manifest: Path) -> None:
    async with serving(Deadly(set(range(1, 10_000)))) as deadly, Uploader(deadly.broker_url, KEY) as uploader:
        async with asyncio.timeout(60):
            result = await uploader.put_tree([tree], PARALLEL, manifest=manifest)
    assert result.error is not None
    assert "SIGKILL" in result.error.message
    assert result.exit_code == 1
    assert senders() == []
    assert set(states(manifest).values()) <= {"pending", "minted"}


async def test_a_process_that_does_not_begin_says_why(
    uploader: Uploader, tree: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.transfer.parallel_process.MODULE", "uploader.transfer.nowhere")
    async with asyncio.timeout(60):
        result = await uploader.put_tree([tree], PARALLEL, manifest=manifest)
    assert result.error is not None
    assert "exit status 1" in result.error.message
    assert "No module named uploader.transfer.nowhere" in result.error.message
    assert set(states(manifest).values()) == {"pending"}


async def test_senders_die_with_their_parent(many: Many, tree: Path, manifest: Path) -> None:
    many.store_faults.extend(["hold"] * 1_000)
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from uploader import TreeOrder, Uploader\n"
        "async def main():\n"
        "    async with Uploader(sys.argv[1], sys.stdin.readline().strip()) as uploader:\n"
        "        order = TreeOrder(mode='parallel', processes=2)\n"
        "        await uploader.put_tree([sys.argv[2]], order, manifest=Path(sys.argv[3]))\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, many.broker_url, str(tree), str(manifest)),
        stdin=asyncio.subprocess.PIPE,
    )
    assert parent.stdin is not None
    parent.stdin.write(KEY.encode() + b"\n")
    async with asyncio.timeout(30):
        await many.body_begun.wait()
        children = senders(parent.pid)
        assert children
        parent.kill()
        await parent.wait()
        while any(map(is_alive, children)):  # noqa: ASYNC110 - init reaps them, and tells nobody
            await asyncio.sleep(0.01)
    many.may_go_on.set()


# --- an early end


async def test_an_interrupt_lets_end_what_is_under_way_and_the_same_command_goes_on(
    uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    many.store_faults.extend(["hold"] * 10)
    run = asyncio.create_task(uploader.put_tree([tree], PARALLEL, manifest=manifest))
    async with asyncio.timeout(30):
        await many.body_begun.wait()
        run.cancel()
        await asyncio.sleep(0)
        many.may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await run
    assert senders() == []
    assert "claimed" not in states(manifest).values()
    puts = len(many.puts)
    result = await uploader.put_tree([tree], PARALLEL, manifest=manifest)
    assert (result.verified_files, result.exit_code) == (FILES, 0)
    assert len(many.puts) - puts <= FILES
    assert set(many.paths().values()) == {1}


def usual_states(home: Path) -> set[str]:
    """Of the one manifest at its usual place."""
    (manifest,) = home.glob("upload-broker/manifests/*.sqlite")
    return set(states(manifest).values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])  # of a terminal, of systemd
async def test_an_interrupt_that_reaches_all_is_heard_by_one(
    many: Many, tree: Path, tmp_path: Path, number: signal.Signals
) -> None:
    many.store_faults.extend(["hold"] * 10)
    state = tmp_path / "state"
    async with asyncio.timeout(60):
        command = await put_command(many.broker_url, state, tree, *COMMAND, start_new_session=True)
        await many.body_begun.wait()
        assert senders(command.pid)
        os.killpg(command.pid, number)
        many.may_go_on.set()
        status, _, err = await finished(command)
        assert status == 130, err
        assert "Traceback" not in err
        assert "minted" not in usual_states(tmp_path)  # nothing was broken off
        again = await put_command(many.broker_url, state, tree, *COMMAND)
        status, out, err = await finished(again)
    assert status == 0, err
    assert many.paths() == {f"photos/{number % 3}/{number}.jpg": 1 for number in range(FILES)}
    assert '"mode":"parallel"' in out


async def test_a_broker_that_refuses_ends_all_of_them(many: Many, tree: Path, manifest: Path) -> None:
    async with Uploader(many.broker_url, "ub_other_0123456789abcdef", retry=QUICK) as uploader:
        result = await uploader.put_tree([tree], PARALLEL, manifest=manifest)
    assert (result.exit_code, result.sent_files) == (3, 0)
    assert isinstance(result.error, BrokerRefused)
    assert result.error.problem.code == "unauthenticated"
    assert set(states(manifest).values()) == {"pending"}
    assert senders() == []


async def test_a_broker_that_is_away_is_exit_4(many: Many, tree: Path, manifest: Path) -> None:
    many.broker_faults["batch"].extend(["busy"] * 1_000)
    async with Uploader(many.broker_url, KEY, retry=QUICK) as uploader:
        result = await uploader.put_tree([tree], PARALLEL, manifest=manifest)
    assert result.exit_code == 4
    assert set(states(manifest).values()) == {"pending"}


# --- secrets


async def test_the_key_stands_in_no_command_line_and_no_environment(
    uploader: Uploader, many: Many, tree: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_API_KEY", KEY)
    many.store_faults.append("hold")
    run = asyncio.create_task(uploader.put_tree([tree], PARALLEL, manifest=manifest))
    async with asyncio.timeout(30):
        await many.body_begun.wait()
        pids = senders()
        assert pids
        assert all(KEY.encode() not in shown_of(pid) for pid in pids)
        many.may_go_on.set()
        await run


def test_what_is_told_to_a_sender_shows_no_key() -> None:
    begin = Begin(
        broker="http://b",
        key=KEY,
        order=PARALLEL,
        manifest="m",
        wants_files=False,
        retry=QUICK,
        stall_seconds=1,
        answer_seconds=1,
    )
    assert KEY not in repr(begin)


async def test_a_context_of_tls_is_refused_before_anything_is_sent(many: Many, tree: Path, manifest: Path) -> None:
    async with Uploader(many.broker_url, KEY, ssl_context=ssl.create_default_context()) as uploader:
        with pytest.raises(ValueError, match="SSL_CERT_FILE"):
            await uploader.put_tree([tree], PARALLEL, manifest=manifest)
    assert not many.calls


# --- shares


@pytest.mark.parametrize(
    ("order", "places", "jobs", "memory"),
    [
        (TreeOrder(processes=4, jobs=64, memory_bytes=48 << 20), 4, 16, 12 << 20),
        (TreeOrder(processes=8, jobs=3), 3, 1, 16 << 20),
        (TreeOrder(processes=8, memory_bytes=9 << 20), 2, 32, 9 << 19),
        (TreeOrder(processes=1), 1, 64, 48 << 20),
    ],
)
def test_what_they_share_is_divided(order: TreeOrder, places: int, jobs: int, memory: int) -> None:
    assert (order.places, order.divided.jobs, order.divided.memory_bytes) == (places, jobs, memory)


def test_no_number_of_processes_means_one_a_core() -> None:
    assert TreeOrder().places == min(64, len(os.sched_getaffinity(0)), 12)
    with pytest.raises(ValueError, match="processes"):
        TreeOrder(processes=65)
