"""The processor of last resort: bytes, lines and sha256 of anything, in constant memory.

It reads bytes without parsing them, so it runs in the worker itself.
"""

import asyncio
import hashlib
import sys

from consumer.events import printable
from consumer.jobs import Job
from consumer.processors import processor
from consumer.reader import Reader

MEBIBYTE = 1_048_576


@processor("*", timeout=None)
async def measure(job: Job, reader: Reader) -> dict[str, object]:
    """Counts the lines as an editor does: a last one without an end counts too."""
    loop = asyncio.get_running_loop()
    sha256 = hashlib.sha256()
    size_bytes = ends = 0
    last = b"\n"
    hashing: asyncio.Future[None] | None = None
    async for chunk in reader.iter_chunks():
        if hashing is not None:
            await hashing  # at most one chunk behind
        hashing = loop.run_in_executor(None, sha256.update, chunk)
        size_bytes += len(chunk)
        ends += chunk.count(b"\n")
        last = chunk[-1:]
    if hashing is not None:
        await hashing
    sys.stdout.write(f"File: {printable(job.filename)}\nFile size: {size_bytes / MEBIBYTE:.2f} MiB\n")
    sys.stdout.flush()
    return {"size_bytes": size_bytes, "lines": ends + (last != b"\n"), "sha256": sha256.hexdigest()}
