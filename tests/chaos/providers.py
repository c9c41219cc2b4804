"""What a provider brings to the storm: what else can go wrong and die, and how somebody lies."""

import base64
import contextlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
from aiohttp import ClientSession

from broker.dev.children import Child
from broker.dev.gcs_cloud import AUDIENCE, PUSHER, SUBSCRIPTION
from broker.dev.stack import Stack
from uploader.checksums import Choice

EVENTS: Mapping[str, float] = {"events_lost": 0.20, "events_doubled": 0.30, "events_reordered": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """
    :param share: of the uploads of a run on S3.
    :param faults: of the store, beside lost events.
    :param large: how what is large is sent: one in `large_every`, of `large_bytes`.
    :param digest: what is declared of a fan-out: every store has to check it.
    """

    provider: Literal["s3", "gcs"]
    redis_dies: bool
    share: float
    faults: Mapping[str, float]
    large: Literal["multipart", "resumable"]
    large_every: int
    large_bytes: int
    digest: Choice
    abandoned_every: int = 0  # beside one upload in so many, one is begun that nobody ends

    def fragile(self, stack: Stack) -> Sequence[Child]:
        """What is killed beside the broker's own, one at a time."""
        return (stack.store, *stack.others) if self.provider == "gcs" else ()


S3 = Weather(
    provider="s3",
    redis_dies=False,
    share=1,
    faults={**EVENTS, "response_lost": 0.05},
    large="multipart",
    large_every=25,
    large_bytes=5 * 2**20 + 1,  # of more parts than one, the smallest that a store takes
    digest="sha256",
)
# An answer that breaks off behind its commit is the case that breaks naive clients; so are fewer bytes than were sent.
GCS = Weather(
    provider="gcs",
    redis_dies=True,
    share=1 / 3,
    faults={
        **EVENTS,
        "late_seconds": 0.2,
        "response_lost": 0.03,
        "unavailable_after_commit": 0.03,
        "truncated_answer": 0.03,
        "unavailable": 0.02,
        "reset_uploads": 0.05,
        "kept_fewer": 0.2,
    },
    large="resumable",
    large_every=4,
    large_bytes=7 * 2**18 + 1,
    digest="md5",
    abandoned_every=8,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Liar:
    """Tells of objects that nobody uploaded: now with a guessed token, now with an authentic one."""

    stack: Stack
    http: ClientSession
    dice: random.Random
    token: str

    async def tell(self, bucket: str, key: str) -> bytes | None:
        """What the broker answers; None where it did not."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            sent = await (self._pushed if self.stack.options.provider == "gcs" else self._posted)(bucket, key)
            async with self.http.post(**sent) as answer:
                assert answer.status in {200, 202, 401, 403, 503}
                return await answer.read()
        return None

    async def _posted(self, bucket: str, key: str) -> dict[str, Any]:
        record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}
        token = self.dice.choice([self.token, "guessed"])
        return {"url": f"{self._door}?token={token}", "json": {"Records": [record]}}

    async def _pushed(self, bucket: str, key: str) -> dict[str, Any]:
        """Also by Google's own word for somebody who does not speak for the topic."""
        email = self.dice.choice([PUSHER, "stranger@emulated.iam.gserviceaccount.com"])
        asked = {"email": email, "audience": AUDIENCE}
        async with self.http.post(f"{self.stack.about.iam}/_emulator/id-tokens", json=asked) as answer:
            token = (await answer.json())["token"]
        resource = {"kind": "storage#object", "bucket": bucket, "name": key, "generation": "1"}
        message = {
            "attributes": {
                "eventType": "OBJECT_FINALIZE",
                "bucketId": bucket,
                "objectId": key,
                "objectGeneration": "1",
            },
            "data": base64.b64encode(json.dumps(resource).encode()).decode(),
            "messageId": "1",
        }
        headers = {"authorization": f"Bearer {token}"}
        return {"url": self._door, "json": {"subscription": SUBSCRIPTION, "message": message}, "headers": headers}

    @property
    def _door(self) -> str:
        return f"{self.stack.about.broker}/notifications/dev"
