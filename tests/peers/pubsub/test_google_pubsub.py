"""Google's own emulator carries the messages of Cloud Storage: what it pushes and lends is what our doors read.

It signs nothing: the tokens are added on the way, by whoever stands for Google here.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web

from broker.domain.errors import NotAuthentic
from broker.doors.pubsub import open_message
from broker.doors.pubsub_pull import PubsubMailbox
from broker.ports import Envelope, Hint, Message
from tests.pubsub_peer import PubsubPeer, SteadyBearer
from tests.unit.doors.google_world import BUCKET, GENERATION, KEY, Google, told

pytestmark = pytest.mark.google_pubsub
SECONDS = 30


@dataclass
class Receiver:
    """The endpoint of a subscription: what came, and what the door said of it.

    :param tokens: of the next calls; a good one when there is none left.
    """

    google: Google = field(default_factory=Google)
    tokens: list[str] = field(default_factory=list)
    refused: int = 0
    hints: list[Hint] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        token = self.tokens.pop(0) if self.tokens else self.google.token()
        headers = {name.lower(): value for name, value in request.headers.items()}
        assert "authorization" not in headers, "the emulator has learned to sign"
        envelope = Envelope(
            headers={**headers, "authorization": f"Bearer {token}"}, query={}, body=await request.read()
        )
        try:
            opened = await self.google.door.open(envelope)
        except NotAuthentic:
            self.refused += 1
            return web.Response(status=401)
        assert (opened.malformed, opened.ignored) == (0, 0)
        self.hints += opened.hints
        self.news.set()
        return web.json_response({})

    async def wait(self, count: int) -> list[Hint]:
        async with asyncio.timeout(SECONDS):
            while len(self.hints) < count:
                self.news.clear()
                await self.news.wait()
        return self.hints


@asynccontextmanager
async def receiving(receiver: Receiver) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/notifications/gcs", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/notifications/gcs"
    finally:
        await runner.cleanup()


async def test_what_it_pushes_is_read_and_what_is_refused_comes_again(google_pubsub: PubsubPeer) -> None:
    receiver = Receiver(tokens=["", "a.b.c"])
    async with receiving(receiver) as url:
        topic = google_pubsub.topic()
        google_pubsub.subscription(topic, pushConfig={"pushEndpoint": url})
        await asyncio.to_thread(google_pubsub.publish, topic, told(), told("gone", event="OBJECT_DELETE"))
        hints = await receiver.wait(2)
    assert {(hint.bucket, hint.key, hint.is_removed, hint.version) for hint in hints} == {
        (BUCKET, KEY, False, GENERATION),
        (BUCKET, "gone", True, GENERATION),
    }
    assert receiver.refused == 2


async def test_what_it_lends_is_read_and_gone_when_it_is_deleted(google_pubsub: PubsubPeer) -> None:
    topic = google_pubsub.topic()
    subscription = google_pubsub.subscription(topic)
    names = [f"uploads/id/{number} ü+%2F.csv" for number in range(250)]
    await asyncio.to_thread(google_pubsub.publish, topic, *map(told, names))
    async with aiohttp.ClientSession() as http:
        mailbox = PubsubMailbox(
            source="test", subscription=subscription, endpoint=google_pubsub.url, http=http, bearer=SteadyBearer()
        )
        lent: list[Message] = []
        async with asyncio.timeout(SECONDS):
            while len(lent) < len(names):
                batch = await mailbox.receive()
                deletion = await mailbox.delete(batch)
                assert not deletion.again
                assert not deletion.lost
                lent += batch
        await mailbox.close()
    assert sorted(hint.key for message in lent for hint in open_message(message.body).hints) == sorted(names)
