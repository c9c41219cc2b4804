"""stub"""

from consumer.jobs import Job
from consumer.processors import Processor
from consumer.remote import RemoteReader


class Pool:
    async def run(self, found: Processor, job: Job, reader: RemoteReader) -> object:
        raise NotImplementedError

    async def aclose(self) -> None: ...
