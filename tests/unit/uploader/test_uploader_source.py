"""A file that does not keep still never becomes a complete object; what is no file is said to be none."""

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from parts_standin import PartsStandIn
from resumable_standin import ResumableStandIn
from uploader_standin import KEY, QUICK, MakeFile, StandIn

from broker.contract import State
from uploader import FileChanged, FileUnusable, Uploader
from uploader.checksums import Choice, declare
from uploader.events import Meter
from uploader.resumable import CHUNK_BYTES
from uploader.source import FileSource, MemorySource, open_source

BIG = 24 << 20


def grow(path: Path) -> None:
    with path.open("ab") as out:
        out.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, 1000)


def vanish(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    twin = path.with_suffix(".new")
    twin.write_bytes(path.read_bytes())
    twin.replace(path)


def rewrite(path: Path) -> None:
    """Truncated in place, and written again to the same length."""
    size = path.stat().st_size
    with path.open("r+b") as out:
        out.truncate(0)
        out.truncate(size)


CHANGES = [
    pytest.param(grow, "grew", id="grows"),
    pytest.param(shrink, "shrank", id="shrinks"),
    pytest.param(vanish, "vanished", id="vanishes"),
    pytest.param(replace, "was replaced", id="is replaced"),
    pytest.param(rewrite, "was replaced or written|shrank", id="is written"),
]


@pytest.mark.parametrize("checksum", ["auto", "none"])  # read for the witness, copied by the kernel
@pytest.mark.parametrize(("change", "words"), CHANGES)
async def test_a_file_that_changes_while_it_is_sent_fails_and_aborts(
    uploader: Uploader,
    standin: StandIn,
    make_file: MakeFile,
    change: Callable[[Path], None],
    words: str,
    checksum: Choice,
) -> None:
    path = make_file(BIG)
    standin.store_faults.append("hold")
    async with asyncio.timeout(30):
        task = asyncio.create_task(uploader.put(path, checksum=checksum))
        await standin.body_begun.wait()
        change(path)
        standin.may_go_on.set()
        with pytest.raises(FileChanged, match=words):
            await task
    assert not standin.objects
    assert [session.state for session in standin.sessions.values()] == [State.ABORTED]
    assert len(standin.puts) == 1


@pytest.mark.parametrize("checksum", ["auto", "none"])
@pytest.mark.parametrize(("change", "words"), CHANGES)
async def test_nor_is_it_put_together_of_the_parts_that_came_before(
    parted: PartsStandIn,
    parts_uploader: Uploader,
    make_file: MakeFile,
    change: Callable[[Path], None],
    words: str,
    checksum: Choice,
) -> None:
    parted.part_size_bytes, parted.names = 14 << 20, "md5"  # the last bytes must not leave before the file changes,
    path = make_file(3 * parted.part_size_bytes)  # and what leaves unread is what buffers take: some 10 MiB at most
    parted.part_faults[3].append("hold")
    async with asyncio.timeout(30):
        task = asyncio.create_task(parts_uploader.put(path, checksum=checksum, jobs=2))
        await parted.until(stored=2)
        await parted.body_begun.wait()
        change(path)
        parted.may_go_on.set()
        with pytest.raises(FileChanged, match=words):
            await task
    assert not parted.objects
    assert [session.state for session in parted.sessions.values()] == [State.ABORTED]


@pytest.mark.parametrize(("change", "words"), CHANGES)
async def test_nor_of_the_pieces(
    store: ResumableStandIn, make_file: MakeFile, change: Callable[[Path], None], words: str
) -> None:
    path = make_file(2 * CHUNK_BYTES)  # two pieces
    store.last_faults.append("hold")
    async with Uploader(store.broker_url, KEY, retry=QUICK) as uploader, asyncio.timeout(30):
        task = asyncio.create_task(uploader.put(path, strategy="resumable"))
        await store.until(begun=2)
        await store.body_begun.wait()
        change(path)
        store.may_go_on.set()
        with pytest.raises(FileChanged, match=words):
            await task
    assert not store.objects
    assert [session.state for session in store.sessions.values()] == [State.ABORTED]


async def test_holes_arrive_as_what_they_read_as(
    parted: PartsStandIn, parts_uploader: Uploader, tmp_path: Path
) -> None:
    parted.names = "md5"
    path = tmp_path / "sparse"
    with path.open("wb") as out:
        out.truncate(5 << 20)
        os.pwrite(out.fileno(), b"island", 3 << 20)
    result = await parts_uploader.put(path)
    (parts,) = parted.stored_parts.values()
    whole = path.read_bytes()
    pieces = [whole[at : at + (1 << 20)] for at in range(0, len(whole), 1 << 20)]
    assert result.proved == "md5"
    assert [parts[n].sha256 for n in sorted(parts)] == [hashlib.sha256(piece).hexdigest() for piece in pieces]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_a_file_that_changes_while_it_is_hashed_is_noticed(
    make_file: MakeFile, change: Callable[[Path], None], words: str
) -> None:
    path = make_file(4 << 20)
    source = FileSource.open(path)
    change(path)
    try:
        with pytest.raises(FileChanged, match=words):
            declare(source, ("sha256",), Meter(source.name, source.size_bytes), lambda: False)
    finally:
        source.close()


async def test_a_file_that_changed_after_it_was_hashed_is_not_minted_for_nothing(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    path = make_file(4 << 20)
    standin.broker_faults["mint"].append("busy")
    standin.on_busy = lambda: grow(path)
    with pytest.raises(FileChanged, match="grew"):
        await uploader.put(path)
    assert not standin.objects


def test_a_small_file_is_read_once_into_memory(make_file: MakeFile) -> None:
    assert isinstance(open_source(make_file(1 << 20)), MemorySource)


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, words in [(fifo, "not a regular file"), (tmp_path, "not a regular file"), (tmp_path / "no", "No such")]:
        with pytest.raises(FileUnusable, match=words):
            open_source(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_refused(make_file: MakeFile) -> None:
    path = make_file(10)
    path.chmod(0)
    with pytest.raises(FileUnusable, match="Permission denied"):
        open_source(path)


def test_hashing_stops_when_nobody_wants_it(make_file: MakeFile) -> None:
    source = FileSource.open(make_file(8 << 20))
    meter = Meter(source.name, source.size_bytes)
    is_stopped = threading.Event()
    is_stopped.set()
    try:
        declare(source, ("sha256",), meter, is_stopped.is_set)
    finally:
        source.close()
    assert meter.done_bytes == 0


@pytest.mark.parametrize("algorithm", ["md5", "none"])
async def test_other_checksums_are_declared_as_asked(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, algorithm: str
) -> None:
    result = await uploader.put(make_file(10), checksum=algorithm, timeout=timedelta(seconds=5))  # type: ignore[arg-type]
    wanted = standin.sessions[result.session_id].wanted.checksum
    assert (wanted.sha256, wanted.md5 is not None) == (None, algorithm == "md5")
