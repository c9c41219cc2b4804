"""The memory for bodies is what was ordered, whatever the files and the workers."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from many_standin import Many
from tree_manifests import write
from uploader_standin import KEY

MIB = 1 << 20
MEMORY = 8 * MIB

SENDING = """
import asyncio, os, re, sys
from pathlib import Path
from uploader import TreeOrder, Uploader

async def main():
    async with Uploader(os.environ["URL"], os.environ["KEY"]) as uploader:
        order = TreeOrder(memory_bytes=int(sys.argv[2]), jobs=64)
        result = await uploader.put_tree([sys.argv[1]], order, manifest=Path(sys.argv[1] + ".sqlite"))
        assert result.exit_code == 0, result

asyncio.run(main())
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what a process took at most")
async def test_a_body_is_gone_once_it_was_sent(many: Many, tmp_path: Path) -> None:
    peaks = {size: await _peak(many, _tree(tmp_path / str(size), size)) for size in (100, MIB)}
    more = peaks[MIB] - peaks[100]
    assert more < 4 * MEMORY, f"{more / MIB:.1f} MiB more for bodies of {MEMORY / MIB:.0f} MiB in all"


def _tree(root: Path, size_bytes: int) -> Path:
    """More files than there are workers, so that each could keep one."""
    for number in range(80):
        write(root / f"{number}.bin", size_bytes)
    return root


async def _peak(many: Many, tree: Path) -> int:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SENDING, str(tree), str(MEMORY)),
        env={"PATH": os.environ["PATH"], "URL": many.broker_url, "KEY": KEY},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return int(out)
