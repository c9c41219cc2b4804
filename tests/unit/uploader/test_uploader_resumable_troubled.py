"""A resumable upload through trouble upon trouble: correct at its end, hardly anything sent twice, in constant memory.

The file is sparse, none of its pieces is like another one, and what is sent is counted where it arrives.
"""

import asyncio
import hashlib
import os
import random
import sys
from base64 import b64encode
from pathlib import Path

import pytest
from resumable_standin import MULTIPLE, ResumableStandIn
from uploader_standin import KEY, serving

MIB = 1 << 20
GIB = 1 << 30
PIECES = 128

PIECE_TROUBLE = {
    None: 70,
    "reset": 6,  # half-way, and the store keeps nothing of it
    "busy": 9,  # 503, and it was kept
    "lost-response": 6,
    "garbled": 3,
    "wrong-200": 2,
    "stall": 4,
}
QUERY_TROUBLE = {None: 70, "busy": 10, "lost-response": 10, "garbled-range": 6, "silent": 4}


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    return tmp_path / "sparse"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what a process took at most")
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("size_bytes", "seed"), [(256 * MIB, 17), (2 * GIB, 6)])
async def test_through_resets_lost_commits_and_stalls_it_arrives_and_hardly_anything_goes_twice(
    sparse: Path, size_bytes: int, seed: int
) -> None:
    async with serving(ResumableStandIn(keeps_broken=False)) as store:
        assert isinstance(store, ResumableStandIn)
        at_rest = await _peak_rss(store.broker_url, _marked(sparse, 1000), size_bytes // PIECES)
        path = _marked(sparse, size_bytes)
        _trouble(store, random.Random(seed))
        grown = await _peak_rss(store.broker_url, path, size_bytes // PIECES) - at_rest
    assert sum(store.committed.values()) == 2
    arrived = store.objects[f"uploads/{list(store.sessions)[-1]}/sparse"]
    assert (arrived.size_bytes, arrived.sha256) == (size_bytes, await asyncio.to_thread(_digest, path))
    assert store.refused == []
    again = store.received_bytes[list(store.sessions)[-1]] - size_bytes
    told = f"{again / size_bytes:.1%} sent again, {grown / MIB:.1f} MiB more memory, {len(store.questions)} questions"
    assert 0 < again <= size_bytes / 10, told
    assert grown < 12 * MIB, told


def _trouble(store: ResumableStandIn, chance: random.Random) -> None:
    """For each piece, and for the last one in any case; and for each question."""
    store.faults.extend(chance.choices(list(PIECE_TROUBLE), list(PIECE_TROUBLE.values()), k=4 * PIECES))
    store.query_faults.extend(chance.choices(list(QUERY_TROUBLE), list(QUERY_TROUBLE.values()), k=4 * PIECES))
    store.last_faults.extend(["lost-response"])


def _marked(path: Path, size_bytes: int) -> Path:
    """Holes, and every 256 KiB the place where it is."""
    with path.open("wb") as out:
        out.truncate(size_bytes)
        for offset in range(0, size_bytes - 8, MULTIPLE):
            os.pwrite(out.fileno(), offset.to_bytes(8, "big"), offset)
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as data:
        return b64encode(hashlib.file_digest(data, "sha256").digest()).decode()


async def _peak_rss(broker_url: str, path: Path, piece_bytes: int) -> int:
    """The high-water mark of a fresh process that sends one file."""
    code = (
        "import asyncio, os, re, sys\n"
        "from datetime import timedelta\n"
        "from uploader import RetryPolicy, Uploader, resumable\n"
        "async def main():\n"
        "    resumable.CHUNK_BYTES = int(sys.argv[2])\n"
        "    retry = RetryPolicy(first_delay=timedelta(milliseconds=2), longest_delay=timedelta(milliseconds=20))\n"
        "    wishes = dict(retry=retry, stall=timedelta(seconds=1), answer_timeout=timedelta(seconds=10))\n"
        "    async with Uploader(os.environ['URL'], os.environ['KEY'], **wishes) as uploader:\n"
        "        await uploader.put(sys.argv[1], strategy='resumable', checksum='none')\n"
        "asyncio.run(main())\n"  # getrusage knows the peak of the parent that forked us
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) * 1024)"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, str(path), str(piece_bytes)),
        env={"PATH": os.environ["PATH"], "URL": broker_url, "KEY": KEY},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(300):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return int(out)
