"""Trees through the real command against the real thing, on both stores: what names, files and moments do to them."""

import asyncio
import hashlib
import os
import shutil
import signal
import stat
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from broker.contract import State
from broker.dev.stack import Stack, StackOptions, start_stack
from tests.trees import Run, TreeWorld, ended, md5_of, rows_of
from uploader import Uploader
from uploader.attributes import location
from uploader.tree.sample import Sample
from uploader.tree.sizes import Sizes

MIB = 1 << 20
PART = 5 * MIB


@pytest.fixture(scope="module", params=["s3", "gcs"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = start_stack(
        StackOptions(
            directory=tmp_path_factory.mktemp("stack") / "dev",
            provider=request.param,
            more_destinations=("second",),
            policy={"first_look": "1s"},
            multipart={"part_size_bytes": PART, "threshold_bytes": 2 * PART},
            resumable={"threshold_bytes": 2 * PART},
            log_level="debug",
        )
    )
    yield running
    running.stop()


@pytest.fixture
async def world(stack: Stack, tmp_path: Path) -> "AsyncIterator[Fresh]":
    fresh = Fresh(TreeWorld(stack=stack, state=tmp_path / "state", broker=stack.about.broker))
    await fresh.remember()
    yield fresh
    fresh.world.misbehave()


class Fresh:
    """A world of which only what came since is seen: tests share the stack."""

    def __init__(self, world: TreeWorld) -> None:
        self.world = world
        self._before: dict[str, set[str]] = {}
        self._bytes_before = 0

    async def remember(self) -> None:
        self._before = {name: set(await self.world.objects(name)) for name in ("default", "second")}
        self._bytes_before = self.world.counters()["bytes_in"]

    async def stored(self, destination: str = "default") -> Counter[str]:
        """MD5s of the objects that have come since; one that is there twice counts twice."""
        found = await self.world.objects(destination)
        return Counter(digest for key, digest in found.items() if key not in self._before[destination])

    def received_bytes(self) -> int:
        """As the store has counted them."""
        return int(self.world.counters()["bytes_in"]) - self._bytes_before

    async def put(self, *arguments: str | Path) -> Run:
        return await self.world.put(*arguments)


def fill(path: Path, size_bytes: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size_bytes))
    return path


def digests_of(root: Path) -> Counter[str]:
    """As a store tells them of objects that came whole."""
    return Counter(md5_of(path) for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def composite_of(path: Path) -> str:
    """The ETag that S3 gives what came in parts."""
    body = path.read_bytes()
    parts = [hashlib.md5(body[at : at + PART], usedforsecurity=False).digest() for at in range(0, len(body), PART)]
    whole = hashlib.md5(b"".join(parts), usedforsecurity=False)
    return f"{whole.hexdigest()}-{len(parts)}"


async def event(process: asyncio.subprocess.Process, name: str) -> None:
    """Until the command has said it."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        while name.encode() not in await process.stdout.readline():
            assert process.returncode is None


async def test_each_file_processed_is_what_was_waited_for(world: Fresh, stack: Stack, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(12):
        fill(tree / f"{number}.bin", 1000 + number)
    fill(tree / "film.mkv", 2 * MIB)
    run = await world.put(tree, "--wait", "processed")
    assert (run.code, run.failed, run.finished["verified_files"]) == (0, {}, 13)
    async with Uploader(stack.about.broker, stack.about.api_key) as uploader:
        sessions = [await uploader.status(str(row.session_id)) for row in rows_of(run.manifest)]
    assert {session.state for session in sessions} == {State.PROCESSED}


async def test_odd_names_empty_and_sparse_files_arrive_once_and_as_they_are(world: Fresh, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    sample = Sample(files=40, sizes=Sizes.parse("1-64KiB"), has_odd_names=True, empty=2, sparse_bytes=3 * MIB)
    made = sample.make(tree)
    run = await world.put(tree)
    assert (run.code, run.failed, run.err) == (0, {}, "")
    assert run.finished["verified_files"] == made.files
    assert await world.stored() == digests_of(tree)
    verified = {name["path"] for name in run.named("file.verified")}
    assert len(verified) == made.files
    assert all(path.isprintable() for path in verified)


async def test_a_path_a_time_and_permissions_travel_with_a_file(world: Fresh, stack: Stack, tmp_path: Path) -> None:
    odd = os.fsdecode(b"not utf-8 \xff\xfe.bin")
    path = fill(tmp_path / "photos" / "a" / odd, 100)
    path.chmod(0o640)
    os.utime(path, ns=(0, 1_732_100_000_123_456_789))
    run = await world.put(tmp_path / "photos")
    (row,) = rows_of(run.manifest)
    async with Uploader(stack.about.broker, stack.about.api_key) as uploader:
        session = await uploader.status(str(row.session_id))
        assert location(session.metadata) == os.fsencode(f"photos/a/{odd}")
        await uploader.get(session.id, tmp_path / "back")
    back = (tmp_path / "back").stat()
    assert (back.st_mtime_ns, stat.S_IMODE(back.st_mode)) == (1_732_100_000_123_456_789, 0o640)


async def test_an_unchanged_tree_is_not_touched_and_a_changed_file_alone_is_sent(world: Fresh, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(30):
        fill(tree / f"{number}.bin", 2000 + number)
    assert (await world.put(tree)).code == 0
    before = world.received_bytes()
    again = await world.put(tree)
    assert (again.code, again.finished["sent_files"], again.finished["unchanged_files"]) == (0, 0, 30)
    assert again.finished["verified_files"] == 30
    assert world.received_bytes() == before
    fill(tree / "7.bin", 5000)
    third = await world.put(tree)
    assert (third.code, third.finished["sent_files"], world.received_bytes() - before) == (0, 1, 5000)


async def test_symlinks_are_passed_over_and_said_or_followed(world: Fresh, tmp_path: Path) -> None:
    tree, other = tmp_path / "tree", tmp_path / "other"
    fill(tree / "file.bin", 10)
    fill(other / "beside.bin", 20)
    (tree / "to-file").symlink_to(other / "beside.bin")
    (tree / "to-directory").symlink_to(other)
    (tree / "to-itself").symlink_to(tree)
    (tree / "to-nothing").symlink_to(tmp_path / "nowhere")
    passed = await world.put(tree)
    assert (passed.code, passed.finished["verified_files"], passed.finished["skipped_files"]) == (0, 1, 4)
    followed = await world.put(tree, "--follow-symlinks", "--batch", "followed")
    assert (followed.code, followed.finished["verified_files"], followed.finished["skipped_files"]) == (0, 3, 2)
    skipped = {row.path: row.error_code for row in rows_of(followed.manifest) if row.state.value == "skipped"}
    assert skipped == {b"to-itself": "symlink-loop", b"to-nothing": "dangling-symlink"}


def _denied(path: Path) -> list[str]:
    """Whoever is root reads everything, unless he gives that right away."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root without setpriv reads everything")
    command = [setpriv, "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
    if subprocess.run([*command, "cat", str(path)], capture_output=True, check=False).returncode == 0:
        pytest.skip("this root keeps every right")
    return command


async def test_what_cannot_be_read_fails_with_its_reason_and_the_rest_goes_on(world: Fresh, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(5):
        fill(tree / f"{number}.bin", 300)
    (tree / "shut").mkdir()
    for closed in (fill(tree / "closed.bin", 50), fill(tree / "large.bin", 2 * MIB), tree / "shut"):
        closed.chmod(0)
    os.mkfifo(tree / "pipe")
    run = await ended(await world.world.start(tree, before=_denied(tree / "closed.bin")))
    (tree / "shut").chmod(0o700)
    assert (run.code, run.finished["verified_files"], run.finished["failed_files"]) == (1, 5, 2)
    assert set(run.failed) == {str(tree / "closed.bin"), str(tree / "large.bin")}
    assert set(run.failed.values()) == {"file-unusable"}
    skipped = {row.path: row.error_code for row in rows_of(run.manifest) if row.state.value == "skipped"}
    assert skipped == {b"shut": "unreadable", b"pipe": "special"}


async def test_files_that_vanish_and_grow_behind_the_scan(world: Fresh, tmp_path: Path) -> None:
    """Twenty large files through sixteen slots at a slow store: the last ones are opened long after the scan."""
    tree = tmp_path / "tree"
    for number in range(20):
        fill(tree / f"{number:02}.bin", MIB + 1 + number)
    world.world.misbehave(slow_bytes_per_second=2 * MIB)
    process = await world.world.start(tree, "--jobs", "2")
    await event(process, "tree.scanned")
    (tree / "19.bin").unlink()
    with (tree / "18.bin").open("ab") as grown:
        grown.write(b"more")
    world.world.misbehave()
    run = await ended(process)
    assert (run.code, run.failed) == (0, {})
    assert (run.finished["verified_files"], run.finished["vanished_files"]) == (19, 1)
    assert await world.stored() == digests_of(tree)


async def test_a_file_that_never_stops_growing_fails_and_is_not_believed(world: Fresh, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    fill(tree / "still.bin", 500)
    log = fill(tree / "app.log", 2 * MIB)
    world.world.misbehave(slow_bytes_per_second=4 * MIB)
    running = asyncio.create_task(world.put(tree))
    with log.open("ab") as out:
        while not running.done():
            out.write(b"another line\n" * 100)
            out.flush()
            await asyncio.sleep(0.01)
    run = await running
    assert (run.code, run.failed) == (1, {str(log): "file-changed"})
    assert run.finished["verified_files"] == 1
    assert await world.stored() == Counter([md5_of(tree / "still.bin")])


async def test_large_files_killed_half_way_go_on_with_what_is_missing(world: Fresh, tmp_path: Path) -> None:
    """By parts on S3, piece by piece on Cloud Storage: what had come is not sent again but for what was under way."""
    tree, size_bytes = tmp_path / "tree", 12 * PART
    film = fill(tree / "film.mkv", size_bytes)
    fill(tree / "note.txt", 100)
    world.world.misbehave(slow_bytes_per_second=16 * MIB)
    process = await world.world.start(tree, "--jobs", "2")
    killed = asyncio.create_task(ended(process))
    async with asyncio.timeout(60):
        while world.received_bytes() < 6 * PART:  # noqa: ASYNC110 - another process counts
            await asyncio.sleep(0.02)
    process.kill()
    await killed
    world.world.misbehave()
    run = await world.put(tree, "--jobs", "2")
    assert (run.code, run.finished["verified_files"]) == (0, 2)
    film_digest = composite_of(film) if world.world.stack.options.provider == "s3" else md5_of(film)
    assert await world.stored() == Counter([film_digest, md5_of(tree / "note.txt")])
    assert world.received_bytes() <= size_bytes + 200 + 3 * PART


async def test_ctrl_c_ends_soon_and_the_same_command_goes_on(world: Fresh, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(400):
        fill(tree / f"{number}.bin", 20_000 + number)
    world.world.misbehave(slow_bytes_per_second=MIB // 4)
    process = await world.world.start(tree)
    await event(process, "file.verified")
    process.send_signal(signal.SIGINT)
    run = await ended(process)
    assert run.code == 130
    assert "same command" in run.err or run.named("tree.finished")
    world.world.misbehave()
    again = await world.put(tree)
    assert (again.code, again.finished["verified_files"]) == (0, 400)
    assert await world.stored() == digests_of(tree)


async def test_a_copy_of_each_file_in_two_buckets(world: Fresh, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(10):
        fill(tree / f"{number}.bin", 1000 * number)
    fill(tree / "film.mkv", 2 * PART + 1)
    run = await world.put(tree, "--destination", "default", "--destination", "second")
    assert (run.code, run.failed, run.finished["verified_files"]) == (0, {}, 11)
    assert await world.stored("default") == await world.stored("second") == digests_of(tree)


async def test_what_nobody_waits_for_is_looked_at_by_the_next_run(world: Fresh, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(10):
        fill(tree / f"{number}.bin", 1000 + number)
    sent = await world.put(tree, "--wait", "none")
    assert (sent.code, sent.finished["unsettled_files"] + sent.finished["verified_files"]) == (0, 10)
    before = world.received_bytes()
    looked = await world.put(tree)
    assert (looked.code, looked.finished["verified_files"], world.received_bytes()) == (0, 10, before)
