"""moto's SNS to our door: it signs (v2) with keys of its own and publishes their certificates, all over real HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from broker.clock import SystemClock
from broker.domain.errors import NotAuthentic
from broker.doors.sns import SnsDoor
from broker.doors.sns_keys import SigningKeys
from broker.doors.sns_topic import Topic
from broker.ports import Envelope, Opened, PublishedPage
from tests.moto_peer import MotoPeer, running_moto
from tests.unit.doors.senders import aws, bridged, records

SECONDS = 20
HERE = "https://sns.eu-central-1.amazonaws.com"
SCOPE = "AWS4-HMAC-SHA256 Credential=a/20261120/eu-central-1/sns/aws4_request, SignedHeaders=host, Signature=0"


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoPeer]:
    with running_moto() as peer:
        yield peer


@dataclass(frozen=True)
class PagesOfMoto:
    """The host that the door calls is one of AWS. moto stands in for it, once it is told which service is meant."""

    http: aiohttp.ClientSession
    moto: str
    asked: list[str] = field(default_factory=list)

    async def get(self, url: str, *, at_most_bytes: int) -> PublishedPage | None:
        assert url.startswith(f"{HERE}/")
        self.asked.append(url)
        here = URL(self.moto + url.removeprefix(HERE), encoded=True)
        async with self.http.get(here, headers={"Authorization": SCOPE}) as answer:
            page = await answer.read()
            return PublishedPage(body=page) if answer.status == 200 and len(page) <= at_most_bytes else None


@dataclass
class Receiver:
    """An endpoint of a subscription: what came, and what the door said of it."""

    door: SnsDoor
    envelopes: list[Envelope] = field(default_factory=list)
    opened: list[Opened] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        envelope = Envelope(headers=headers, query={}, body=await request.read())
        self.envelopes.append(envelope)
        self.opened.append(await self.door.open(envelope))
        self.news.set()
        return web.Response()


@asynccontextmanager
async def subscribed(moto: MotoPeer) -> AsyncIterator[tuple[str, Receiver, PagesOfMoto]]:
    """A topic of moto's, and our door at its only subscription."""
    arn = str((await asyncio.to_thread(moto.sns.create_topic, Name=f"t{uuid4().hex}"))["TopicArn"])
    async with aiohttp.ClientSession() as http:
        pages, clock = PagesOfMoto(http, moto.url), SystemClock()
        door = SnsDoor(
            destinations=("default",),
            topics={arn: Topic.parse(arn)},
            versions=("2",),
            keys=SigningKeys(pages=pages, clock=clock),
            pages=pages,
            clock=clock,
        )
        receiver = Receiver(door)
        app = web.Application()
        app.router.add_post("/notifications/topic", receiver.take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            (address,) = runner.addresses
            endpoint = f"http://127.0.0.1:{address[1]}/notifications/topic"
            await asyncio.to_thread(moto.sns.subscribe, TopicArn=arn, Protocol="http", Endpoint=endpoint)
            yield arn, receiver, pages
        finally:
            await runner.cleanup()


async def publish(moto: MotoPeer, arn: str, message: str, receiver: Receiver) -> Opened:
    receiver.news.clear()
    await asyncio.to_thread(moto.sns.publish, TopicArn=arn, Message=message)
    async with asyncio.timeout(SECONDS):
        await receiver.news.wait()
    return receiver.opened[-1]


async def test_what_moto_signed_is_read_and_nothing_else(moto: MotoPeer) -> None:
    async with subscribed(moto) as (arn, receiver, pages):
        told = await publish(moto, arn, records(aws("uploads/id/two+words%2B%C3%A9.csv")).decode(), receiver)
        assert [(hint.bucket, hint.key) for hint in told.hints] == [("acme", "uploads/id/two words+é.csv")]
        told = await publish(moto, arn, json.dumps(bridged("uploads/id/a+b.csv")), receiver)
        assert [hint.key for hint in told.hints] == ["uploads/id/a+b.csv"]
        assert (await publish(moto, arn, "hello\nMessageId\nworld", receiver)).ignored == 1
        assert {envelope.headers["content-type"] for envelope in receiver.envelopes} == {"text/plain; charset=UTF-8"}
        assert all(url.startswith(f"{HERE}/SimpleNotificationService-") for url in pages.asked)
        good = json.loads(receiver.envelopes[0].body)
        other = json.loads(receiver.envelopes[1].body)
        for name in ("Message", "MessageId", "Timestamp", "Signature"):
            body = json.dumps(good | {name: other[name]}).encode()
            with pytest.raises(NotAuthentic):
                await receiver.door.open(replace(receiver.envelopes[0], body=body))


async def test_an_object_in_a_bucket_of_motos_comes_to_the_door_by_its_topic(moto: MotoPeer) -> None:
    """moto encodes more of a key than S3 does."""
    key = "uploads/id/two words+é&100%.csv"
    async with subscribed(moto) as (arn, receiver, _):
        await asyncio.to_thread(_store, moto, arn, key)
        async with asyncio.timeout(SECONDS):
            while not (told := [hint for opened in receiver.opened for hint in opened.hints]):
                receiver.news.clear()
                await receiver.news.wait()
        assert {(hint.bucket, hint.key) for hint in told} == {("acme-uploads", key)}
        assert sum(opened.malformed for opened in receiver.opened) == 0


def _store(moto: MotoPeer, arn: str, key: str) -> None:
    s3 = moto.client("s3")
    s3.create_bucket(Bucket="acme-uploads", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    told = {"TopicConfigurations": [{"TopicArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
    s3.put_bucket_notification_configuration(Bucket="acme-uploads", NotificationConfiguration=told)
    s3.put_object(Bucket="acme-uploads", Key=key, Body=b"123")


async def test_a_subscription_is_confirmed_where_moto_listens(moto: MotoPeer) -> None:
    async with subscribed(moto) as (arn, receiver, pages):
        url = Topic.parse(arn).confirmation("token")
        page = await receiver.door.pages.get(url, at_most_bytes=65_536)
        assert page is not None
        assert b"ConfirmSubscriptionResponse" in page.body
        assert pages.asked == [url]
