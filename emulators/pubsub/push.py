"""Push: a subscription's messages are posted to its endpoint until it takes them.

Pub/Sub, "Push subscriptions": wrapped JSON; 102, 200, 201, 202 and 204 acknowledge, anything else – and no answer
within the time for which the message is lent – makes it come again, later each time ("Push backoff"). With an e-mail
address each call bears an ID token ("Authenticate push subscriptions").
"""

import asyncio
import logging
from typing import Final

import aiohttp
import msgspec

from emulators.pubsub.iam import Iam
from emulators.pubsub.messages import Kept, Subscription
from emulators.pubsub.settings import Push

log = logging.getLogger(__name__)

TAKEN: Final = {102, 200, 201, 202, 204}
REFUSED: Final = {401, 403}
FIRST_BACKOFF_SECONDS: Final = 0.1
MAX_BACKOFF_SECONDS: Final = 5.0  # Pub/Sub's is 60
MOST_AT_ONCE: Final = 64


class Pusher:
    """One subscription's."""

    def __init__(self, subscription: Subscription, push: Push, iam: Iam, http: aiohttp.ClientSession) -> None:
        self._subscription, self._push, self._iam, self._http = subscription, push, iam, http
        self._posting: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        try:
            while not self._subscription.is_over:
                for kept in self._subscription.lend(MOST_AT_ONCE - len(self._posting)):
                    self._start(kept)
                if len(self._posting) == MOST_AT_ONCE:
                    await asyncio.wait(self._posting, return_when=asyncio.FIRST_COMPLETED)
                else:
                    await self._subscription.until_something(60.0)
        finally:
            for task in self._posting:
                task.cancel()
            await asyncio.gather(*self._posting, return_exceptions=True)

    def _start(self, kept: Kept) -> None:
        task = asyncio.create_task(self._deliver(kept, kept.ack_id))
        self._posting.add(task)
        task.add_done_callback(self._posting.discard)

    async def _deliver(self, kept: Kept, ack_id: str) -> None:
        counted = self._subscription.topics.counted
        if await self._post(kept):
            counted["pushed"] += 1
            self._subscription.acknowledge([ack_id])
            return
        counted["push_failed"] += 1
        backoff = min(FIRST_BACKOFF_SECONDS * 2 ** min(kept.attempts - 1, 16), MAX_BACKOFF_SECONDS)
        self._subscription.give_back([ack_id], after=backoff)

    async def _post(self, kept: Kept) -> bool:
        body: dict[str, object] = {"message": kept.wire, "subscription": self._subscription.spec.name}
        if self._subscription.spec.dead is not None:
            body["deliveryAttempt"] = kept.attempts
        try:
            async with asyncio.timeout(self._subscription.ack_seconds):
                headers = {"content-type": "application/json", **await self._authorization()}
                data = msgspec.json.encode(body)
                async with self._http.post(self._push.url, data=data, headers=headers, allow_redirects=False) as answer:
                    await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as exc:
            log.info("event=push.failed reason=%s", type(exc).__name__)
            return False
        log.info("event=push.answered status=%d", answer.status)
        if answer.status in REFUSED:
            self._iam.forget(self._push.email, self._push.audience)
        return answer.status in TAKEN

    async def _authorization(self) -> dict[str, str]:
        if not self._push.email:
            return {}
        return {"authorization": f"Bearer {await self._iam.id_token(self._push.email, self._push.audience)}"}
