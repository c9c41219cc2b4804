"""Publish what waits in the catalogue, at least once: a kill between the two only publishes again.

Source: https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.topics/publish.
"""

import asyncio
import logging
import time
from typing import Final

import aiohttp

from emulators.gcs.catalogue import Catalogue
from emulators.gcs.counters import Counters
from emulators.gcs.records import Post

log = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS: Final = 0.1
MAX_BACKOFF_SECONDS: Final = 5.0
MAX_ATTEMPTS: Final = 120  # about ten minutes; the service gives up too, and whoever listens must have another way
TIMEOUT_SECONDS: Final = 10.0
MAX_PARALLEL: Final = 16


class Outbox:
    """Sends in the background what was committed together with the object that it is about."""

    def __init__(self, *, catalogue: Catalogue, counters: Counters) -> None:
        self._catalogue = catalogue
        self._counters = counters
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(MAX_PARALLEL)
        self._last = 0

    async def open(self) -> None:
        """Begin with what an earlier process left."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))
        self.wake()

    async def close(self) -> None:
        """Stop at once: what was not taken waits for the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    @property
    def waiting(self) -> int:
        return len(self._tasks)

    def wake(self) -> None:
        """Something was committed; never raises, never waits."""
        for post_id, post in self._catalogue.posts(self._last):
            self._last = post_id
            task = asyncio.get_running_loop().create_task(self._deliver(post_id, post))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, post_id: int, post: Post) -> None:
        await asyncio.sleep(max(0.0, post.due - time.time()))
        backoff = FIRST_BACKOFF_SECONDS
        for _ in range(MAX_ATTEMPTS):
            async with self._gate:
                if await self._publish(post):
                    self._counters.events["sent"] += 1
                    break
            self._counters.events["failed"] += 1
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)
        else:
            self._counters.events["given_up"] += 1
            log.error("event=publish.given_up attempts=%d", MAX_ATTEMPTS)
        self._catalogue.forget_post(post_id)

    async def _publish(self, post: Post) -> bool:
        if self._session is None:
            return False
        headers = {"content-type": "application/json"}
        try:
            async with self._session.post(
                f"{post.url}:publish", data=post.body, headers=headers, allow_redirects=False
            ) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError) as exc:
            log.debug("event=publish.failed reason=%s", type(exc).__name__)
            return False
        return 200 <= answer.status < 300
