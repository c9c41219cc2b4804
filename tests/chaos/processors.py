"""What the chaos test's consumers run: reads all, says who it was, and now and then needs a second try."""

import hashlib
import random
from typing import Any

from consumer import Job, Reader, Retry, processor


@processor("*", timeout=30)
async def witness(job: Job, reader: Reader) -> dict[str, Any]:
    digest = hashlib.sha256()
    async for chunk in reader.iter_chunks():
        digest.update(chunk)
    # Two failures at most, of the five that dead-letter: a healthy job always comes through.
    if job.attempts.failures < 2 and random.random() < 0.05:
        raise Retry(0.1)
    return {"sha256": digest.hexdigest(), "epoch": job.lease.epoch, "destination": job.destination}
