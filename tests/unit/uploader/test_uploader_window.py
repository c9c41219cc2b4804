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


only_where_a_peak_is_told = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux says what a process took at most"
)
PEAK = (  # getrusage knows the peak of the parent that forked us
    "def peak():\n    return int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) * 1024\n"
)


@only_where_a_peak_is_told
async def test_memory_is_one_window_although_the_front_moves_from_thread_to_thread(make_file: MakeFile) -> None:
    """Each leads for almost a whole window: what one has allocated must not stay when another one allocates."""
    code = PEAK + (
        "import json, re, sys\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from pathlib import Path\n"
        "from uploader.source import FileSource\n"
        "from uploader.window import PIECE_BYTES, ROOM_BYTES, Budget, Window\n"
        "shared = Window(FileSource.open(Path(sys.argv[1])), 3, Budget())\n"
        "count, lead = shared.size_bytes // PIECE_BYTES, 3 * ROOM_BYTES // PIECE_BYTES - 1\n"
        "def read(begin, end):\n"
        "    for number in range(begin, min(end, count)): shared.read(number * PIECE_BYTES, PIECE_BYTES)\n"
        "before = peak()\n"
        "pools, at = [ThreadPoolExecutor(1), ThreadPoolExecutor(1)], [0, 0]\n"
        "for turn, front in enumerate(range(lead, count + lead, lead)):\n"
        "    pools[turn % 2].submit(read, at[turn % 2], front).result()\n"
        "    at[turn % 2] = front\n"
        "print(json.dumps([peak() - before, shared.read_bytes, shared.reread_bytes]))"
    )
    more, read, reread = await _ran(code, str(make_file(192 * MIB)))
    assert (read, reread) == (192 * MIB, 0)
    assert more < 3 * window.ROOM_BYTES + 12 * MIB, f"{more / MIB:.1f} MiB more"


@only_where_a_peak_is_told
async def test_one_reading_and_flat_memory_although_a_copy_stands_still(make_file: MakeFile) -> None:
    """Until the others have everything: so they do not wait for it, and how fast they are decides nothing here."""
    room = 3 * window.ROOM_BYTES
    sizes = {"small": 2 * MIB, "a window": room + 16 * MIB, "large": 256 * MIB}
    peaks, reads = {}, {}
    async with serving(CopiesStandIn()) as copied:
        assert isinstance(copied, CopiesStandIn)
        copied.patient = {"us"}
        for name, size in sizes.items():
            peaks[name], reads[name] = await _sent(copied.broker_url, make_file(size, name))
    told = {name: f"{peak / MIB:.1f} MiB" for name, peak in peaks.items()}
    assert peaks["a window"] - peaks["small"] < 2 * room, told
    assert peaks["large"] - peaks["a window"] < (sizes["large"] - sizes["a window"]) / 4, told
    # once to be hashed, once for those who keep up, and once more what the one that stood still read by itself
    assert 2 * sizes["large"] <= reads["large"] < 3 * sizes["large"] + 8 * MIB


async def _sent(broker_url: str, path: Path) -> tuple[int, int]:
    """Peak memory and bytes read of a fresh process that fans one file out."""
    code = PEAK + (
        "import asyncio, json, os, re, sys\n"
        "from uploader import Uploader\n"
        "async def main():\n"
        "    read, pread = [0], os.pread\n"
        "    def counted(fd, size, offset):\n"
        "        piece = pread(fd, size, offset); read[0] += len(piece); return piece\n"
        "    os.pread = counted\n"
        "    async with Uploader(os.environ['URL'], os.environ['KEY']) as uploader:\n"
        "        await uploader.put(sys.argv[1], destinations=['eu', 'us', 'ap'])\n"
        "    print(json.dumps([peak(), read[0]]))\n"
        "asyncio.run(main())"
    )
    peak, read = await _ran(code, str(path), URL=broker_url, KEY=KEY)
    return peak, read


async def _ran(code: str, *arguments: str, **environment: str) -> list[int]:
    """What a fresh process says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, *arguments),
        env={"PATH": os.environ["PATH"], **environment},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(90):
        out, _ = await process.communicate()
    assert process.returncode == 0
    told: list[int] = json.loads(out)
    return told
