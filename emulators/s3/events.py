"""Tell the world what happened to an object: S3 event notifications, POSTed to a URL for each bucket.

Shape: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html (keys form-encoded,
ETag without quotes, `sequencer` in hexadecimal). An event is sent after its object is durable, in the background, at
least once for as long as this process lives: what waits is kept in memory, as a store's own queue would be elsewhere.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote_plus

import aiohttp
import msgspec

from emulators.s3.catalogue import Bucket, Stored
from emulators.s3.counters import Counters
from emulators.s3.faults import Faults
from emulators.s3.settings import Notify

log = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS: Final = 0.1
MAX_BACKOFF_SECONDS: Final = 5.0
MAX_ATTEMPTS: Final = 120  # about ten minutes; a store gives up too, and the receiver must have another way to know
TIMEOUT_SECONDS: Final = 10.0
MAX_PARALLEL: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to one version of one object; `name` as `ObjectCreated:Put`."""

    name: str
    bucket: Bucket
    key: str
    stored: Stored
    principal: str
    source_ip: str
    request_id: str

    def record(self, region: str) -> dict[str, Any]:
        """One element of `Records[]`."""
        return {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": region,
            "eventTime": _time(self.stored.modified),
            "eventName": self.name,
            "userIdentity": {"principalId": f"AWS:{self.principal}"},
            "requestParameters": {"sourceIPAddress": self.source_ip},
            "responseElements": {"x-amz-request-id": self.request_id, "x-amz-id-2": self.request_id},
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "emulator",
                "bucket": {
                    "name": self.bucket.name,
                    "ownerIdentity": {"principalId": self.bucket.owner},
                    "arn": f"arn:aws:s3:::{self.bucket.name}",
                },
                "object": self._object(),
            },
        }

    def _object(self) -> dict[str, Any]:
        seen: dict[str, Any] = {"key": quote_plus(self.key, safe="/"), "sequencer": f"{self.stored.seq:018X}"}
        if self.name.startswith("ObjectCreated"):
            seen |= {"size": self.stored.size_bytes, "eTag": self.stored.etag}
        if self.stored.version_id is not None:
            seen["versionId"] = self.stored.version_id
        return seen


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Notifier:
    """Sends, retries, and misbehaves when told to."""

    def __init__(
        self,
        *,
        targets: Iterable[Notify],
        bearer: str | None,
        region: str,
        faults: Faults,
        counters: Counters,
    ) -> None:
        self._targets = tuple(targets)
        self._headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {bearer}"} if bearer else {})
        self._region = region
        self._faults = faults
        self._counters = counters
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(MAX_PARALLEL)

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))

    async def close(self) -> None:
        """Stop at once: what was not delivered is lost, as when a store loses an event."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    @property
    def waiting(self) -> int:
        return len(self._tasks)

    def publish(self, event: Event) -> None:
        """Send soon; never raises, never waits."""
        urls = [target.url for target in self._targets if target.bucket == event.bucket.name]
        if not urls:
            return
        self._counters.events["created"] += 1
        if self._faults.hits("events_lost"):
            self._counters.events["lost"] += 1
            return
        copies = 1
        if self._faults.hits("events_doubled"):
            self._counters.events["doubled"] += 1
            copies = 2
        body = msgspec.json.encode({"Records": [event.record(self._region)]})
        for url in urls * copies:
            self._spawn(url, body, self._delay())

    def announce(self) -> None:
        """The test event that S3 sends first, when a notification is configured."""
        for target in self._targets:
            body = {
                "Service": "Amazon S3",
                "Event": "s3:TestEvent",
                "Time": _time(datetime.now(UTC).timestamp()),
                "Bucket": target.bucket,
                "RequestId": "0000000000000000",
                "HostId": "emulator",
            }
            self._spawn(target.url, msgspec.json.encode(body), 0)

    def _delay(self) -> float:
        delay = self._faults.settings.late_seconds
        if self._faults.hits("events_reordered"):
            self._counters.events["reordered"] += 1
            delay += self._faults.amount("reorder_seconds")
        return delay

    def _spawn(self, url: str, body: bytes, delay: float) -> None:
        task = asyncio.get_running_loop().create_task(self._deliver(url, body, delay))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, url: str, body: bytes, delay: float) -> None:
        if delay:
            await asyncio.sleep(delay)
        backoff = FIRST_BACKOFF_SECONDS
        for _ in range(MAX_ATTEMPTS):
            async with self._gate:
                if await self._post(url, body):
                    self._counters.events["sent"] += 1
                    return
            self._counters.events["failed"] += 1
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)
        self._counters.events["given_up"] += 1
        log.error("event=notify.given_up attempts=%d", MAX_ATTEMPTS)

    async def _post(self, url: str, body: bytes) -> bool:
        if self._session is None:
            return False
        try:
            async with self._session.post(url, data=body, headers=self._headers, allow_redirects=False) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError) as exc:
            log.debug("event=notify.failed reason=%s", type(exc).__name__)
            return False
        log.debug("event=notify.answered status=%d", answer.status)
        return 200 <= answer.status < 300
