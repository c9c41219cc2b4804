"""The worker: leases jobs over HTTP, runs processors over the uploaded bytes, reports what came of them.

    from consumer import Job, Reader, Reject, processor

    @processor("text/csv", timeout=600)
    async def rows(job: Job, reader: Reader) -> dict[str, int]:
        return {"rows": sum([1 async for _ in reader.iter_lines()])}

`upload-consumer run myapp.processors` collects such functions. The worker holds one credential, its role key; of the
broker it imports `broker.contract` alone. Effects outside are at least once: give them `job.id` and `job.lease.epoch`.

An `async def` runs in the worker itself. A plain `def` gets a `FileReader` and runs in a process of its own, which has
no key, no lease and no network address of ours – see `consumer.pool`. Parse hostile formats there.

Nothing that is imported here loads aiohttp, so that such a process starts quickly.
"""

from consumer.errors import Reject, Retry
from consumer.jobs import Job
from consumer.processors import processor
from consumer.reader import FileReader, Reader

__all__ = ["FileReader", "Job", "Reader", "Reject", "Retry", "processor"]
