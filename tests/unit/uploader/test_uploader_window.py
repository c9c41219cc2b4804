"""One reading for all copies: read once by those who keep up, bounded for those who do not."""

import asyncio
import json
import os
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from copies_standin import CopiesStandIn
from hypothesis import given
from hypothesis import strategies as st
from uploader_standin import KEY, MakeFile, serving

from uploader import window
from uploader.errors import FileChanged
from uploader.source import Origin
from uploader.window import Budget, Window

PIECE = window.PIECE_BYTES
MIB = 1 << 20


@dataclass
class CountedSource:
    """Bytes that remember who asked for them."""

    data: bytes
    name: str = "data.bin"
    fileno: int | None = 3
    offset_bytes: int = 0
    origin: Origin | None = None
    reads: Counter[int] = field(default_factory=Counter)
    is_broken: bool = False

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read(self, offset: int, size_bytes: int) -> memoryview:
        if self.is_broken:
            raise FileChanged("it shrank")
        self.reads[offset] += 1
        return memoryview(self.data)[offset : offset + size_bytes]

    def check(self) -> None:
        pass

    def close(self) -> None:
        raise AssertionError("the whole is somebody else's")


def pieces(count: int) -> CountedSource:
    return CountedSource(b"".join(bytes([number % 251]) * PIECE for number in range(count)) + b"tail")


def read_all(source: Window, step: int = PIECE) -> bytes:
    size = source.size_bytes
    return b"".join(source.read(offset, min(step, size - offset)) for offset in range(0, size, step))


def test_those_who_keep_up_share_one_reading_and_nothing_is_kept_after_the_last() -> None:
    whole, budget = pieces(64), Budget()
    shared = Window(whole, 3, budget)
    for offset in range(0, whole.size_bytes, PIECE // 4):
        count = min(PIECE // 4, whole.size_bytes - offset)
        assert {bytes(shared.read(offset, count)) for _ in range(3)} == {whole.data[offset : offset + count]}
    assert (set(whole.reads.values()), sum(whole.reads.values())) == ({1}, 65)
    assert (shared.read_bytes, shared.reread_bytes) == (whole.size_bytes, 0)
    assert budget.left_bytes == window.BUDGET_BYTES


def test_who_falls_behind_reads_again_by_himself_and_the_front_never_waits() -> None:
    whole, budget = pieces(100), Budget()
    shared = Window(whole, 2, budget)
    assert read_all(shared) == whole.data  # the front: nobody else has had anything
    assert window.BUDGET_BYTES - budget.left_bytes <= 2 * window.ROOM_BYTES
    assert read_all(shared) == whole.data
    assert shared.read_bytes == whole.size_bytes
    assert shared.reread_bytes >= whole.size_bytes - 2 * window.ROOM_BYTES - PIECE
    assert max(whole.reads.values()) == 2
    shared.close()
    assert budget.left_bytes == window.BUDGET_BYTES


def test_who_is_a_little_behind_reads_nothing_again() -> None:
    whole = pieces(100)
    shared = Window(whole, 2, Budget())
    lag = 2 * window.ROOM_BYTES - PIECE
    for offset in range(0, 100 * PIECE + lag, PIECE):
        if offset < 100 * PIECE:
            shared.read(offset, PIECE)
        if offset >= lag:
            shared.read(offset - lag, PIECE)
    assert (shared.reread_bytes, max(whole.reads.values())) == (0, 1)


def test_without_memory_left_everybody_reads_for_himself() -> None:
    whole, budget = pieces(8), Budget(0)
    shared = Window(whole, 2, budget)
    assert (read_all(shared), read_all(shared)) == (whole.data, whole.data)
    assert (shared.read_bytes, shared.reread_bytes) == (whole.size_bytes, whole.size_bytes)
    assert budget.left_bytes == 0


def test_windows_share_one_budget_and_give_back_what_they_took() -> None:
    budget = Budget(8 * PIECE)
    shared = [Window(pieces(20), 2, budget) for _ in range(3)]
    for each in shared:
        assert read_all(each) == read_all(each)
        assert budget.left_bytes >= 0
    for each in shared:
        each.close()
    assert budget.left_bytes == 8 * PIECE


def test_a_file_that_breaks_breaks_for_each_who_reads_it() -> None:
    whole = pieces(4)
    shared = Window(whole, 2, Budget())
    whole.is_broken = True
    for _ in range(2):
        with pytest.raises(FileChanged):
            shared.read(0, PIECE)


@given(
    reads=st.lists(st.tuples(st.integers(0, 5 * PIECE), st.integers(0, 3 * PIECE)), max_size=20),
    readers=st.integers(1, 4),
    budget=st.integers(0, 6 * PIECE),
)
def test_whatever_is_read_in_whatever_order_is_what_the_file_holds(
    reads: list[tuple[int, int]], readers: int, budget: int
) -> None:
    whole = pieces(5)
    purse = Budget(budget)
    shared = Window(whole, readers, purse)
    for offset, size in reads:
        count = max(0, min(size, whole.size_bytes - offset))
        assert shared.read(offset, count) == whole.data[offset : offset + count]
        assert 0 <= purse.left_bytes <= budget
    shared.close()
    assert purse.left_bytes == budget


def test_many_threads_get_the_right_bytes_and_read_no_piece_twice_while_they_keep_up() -> None:
    whole, readers = pieces(200), 6
    shared = Window(whole, readers, Budget())
    at_the_line = threading.Barrier(readers)

    def run() -> bool:
        is_right = True
        for offset in range(0, whole.size_bytes, PIECE):
            if offset % (8 * PIECE) == 0:
                at_the_line.wait(30)
            count = min(PIECE, whole.size_bytes - offset)
            is_right &= shared.read(offset, count) == whole.data[offset : offset + count]
        return is_right

    with ThreadPoolExecutor(readers) as pool:
        results = [future.result(60) for future in [pool.submit(run) for _ in range(readers)]]
    assert all(results)
    assert (max(whole.reads.values()), shared.reread_bytes) == (1, 0)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what a process took at most")
async def test_one_reading_and_flat_memory_however_slow_a_copy_is(make_file: MakeFile) -> None:
    small, large = make_file(2 * MIB, "small"), make_file(192 * MIB, "large")
    async with serving(CopiesStandIn()) as copied:
        assert isinstance(copied, CopiesStandIn)
        usual, _, _ = await _sent(copied.broker_url, small)
        copied.slow = {"us": 48 * MIB}
        peak, read, seconds = await _sent(copied.broker_url, large)
    room = 3 * window.ROOM_BYTES
    assert peak - usual < room + 24 * MIB, f"{(peak - usual) / MIB:.1f} MiB more"
    assert seconds["us"] >= 4
    assert max(seconds["eu"], seconds["ap"]) < seconds["us"] / 2, seconds
    # once to be hashed, once for those who keep up, and once more what the slow one had to read by itself
    assert 2 * 192 * MIB <= read < 3 * 192 * MIB + 8 * MIB


async def _sent(broker_url: str, path: Path) -> tuple[int, int, dict[str, float]]:
    """Peak memory, bytes read and seconds by destination of a fresh process that fans one file out."""
    code = (
        "import asyncio, json, os, re, sys\n"
        "from uploader import Uploader, events\n"
        "class Seen(events.Silent):\n"
        "    def __init__(self): self.seconds = {}\n"
        "    def on_event(self, event):\n"
        "        if isinstance(event, events.Sent): self.seconds[event.destination] = event.seconds\n"
        "async def main():\n"
        "    seen, read = Seen(), [0]\n"
        "    pread = os.pread\n"
        "    def counted(fd, size, offset):\n"
        "        piece = pread(fd, size, offset); read[0] += len(piece); return piece\n"
        "    os.pread = counted\n"
        "    async with Uploader(os.environ['URL'], os.environ['KEY']) as uploader:\n"
        "        await uploader.put(sys.argv[1], destinations=['eu', 'us', 'ap'], observer=seen)\n"
        "    status = open('/proc/self/status').read()\n"  # getrusage knows the peak of the parent that forked us
        "    peak = int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) * 1024\n"
        "    print(json.dumps([peak, read[0], seen.seconds]))\n"
        "asyncio.run(main())"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, str(path)),
        env={"PATH": os.environ["PATH"], "URL": broker_url, "KEY": KEY},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(90):
        out, _ = await process.communicate()
    assert process.returncode == 0
    peak, read, seconds = json.loads(out)
    return peak, read, seconds
