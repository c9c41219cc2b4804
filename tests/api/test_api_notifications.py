"""Doors over HTTP: who is heard, who must send again, and that no body breaks any of them."""

import asyncio
import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.api.app import create_app
from broker.doors.eventbridge import EventBridgeDoor
from broker.doors.s3_event import S3EventDoor
from broker.services.notify import Notify
from broker.services.record_hints import RecordHints
from broker.workers.bells import LocalBell
from tests.api.world import DOOR_TOKEN, PLACES, World, build, client_of
from tests.clock import FrozenClock
from tests.unit.doors.google_world import Google, pushed, told
from tests.unit.doors.senders import aws, bridged, records
from tests.unit.doors.sns_world import ARN, CERTIFICATE, HOST, TOKEN, Sns

NOTHING = {"accepted": 0, "ignored": 1, "malformed": 0}
ONE = {"accepted": 1, "ignored": 0, "malformed": 0}
API_KEY = {"x-api-key": DOOR_TOKEN}


@dataclass(frozen=True)
class Doors:
    """A broker with one source of each kind that comes to it."""

    world: World
    sns: Sns
    google: Google
    client: httpx.AsyncClient

    async def post(self, source: str, body: object, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode(errors="surrogatepass")
        return await self.client.post(f"/notifications/{source}", content=content, headers=headers)

    async def topic(self, message: object) -> httpx.Response:
        """As SNS posts it: JSON that says it is text."""
        words = {"content-type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": "Notification"}
        return await self.post("topic", message, **words)

    async def push(self, message: object, **token: Any) -> httpx.Response:
        """As Pub/Sub posts it."""
        return await self.post("pubsub", pushed(message), authorization=f"Bearer {self.google.token(**token)}")


def doors() -> Doors:
    clock = FrozenClock()
    world, sns, own = build(clock), Sns(clock=clock), {"destinations": ("default",), "tokens": (DOOR_TOKEN,)}
    google = Google(clock=clock)
    bridge = EventBridgeDoor(key_header="x-api-key", **own)
    buckets = {name: world.bucket.as_bucket(place) for name, place in PLACES.items()}
    notify = Notify(
        doors={"pubsub": google.door, "topic": sns.door, "bus": bridge, "bucket": S3EventDoor(**own)},
        record=RecordHints(buckets=buckets, looks=world.ledger, clock=clock, due=LocalBell()),
    )
    client = client_of(create_app(replace(world.use_cases, notify=notify)))
    return Doors(world=world, sns=sns, google=google, client=client)


async def is_due(world: World) -> bool:
    return await world.ledger.next_due() == world.clock.now()


async def test_a_topic_makes_its_session_due() -> None:
    at = doors()
    session = await at.world.mint()
    message = at.sns.signed(Message=records(aws(session["object"]["key"])).decode(), SignatureVersion="2")
    for _ in range(2):
        answer = await at.topic(message)
        assert (answer.status_code, answer.json()) == (200, ONE)
    assert await is_due(at.world)


@pytest.mark.parametrize("change", [{"Message": "x"}, {"TopicArn": ARN + "x"}, {"SigningCertURL": "https://evil/"}])
async def test_a_forged_message_is_refused_and_moves_nothing(change: dict[str, str]) -> None:
    at = doors()
    session = await at.world.mint()
    answer = await at.topic(at.sns.signed(Message=records(aws(session["object"]["key"])).decode()) | change)
    assert (answer.status_code, answer.json()["code"]) == (401, "notification-not-authentic")
    assert not await is_due(at.world)


async def test_raw_delivery_is_refused() -> None:
    at = doors()
    session = await at.world.mint()
    body = records(aws(session["object"]["key"]))
    answer = await at.post("topic", body, **{"x-amz-sns-rawdelivery": "true", "content-type": "text/plain"})
    assert answer.status_code == 401
    assert not await is_due(at.world)


async def test_sns_is_asked_to_come_again_while_its_certificate_cannot_be_had() -> None:
    at = doors()
    session = await at.world.mint()
    message = at.sns.signed(Message=records(aws(session["object"]["key"])).decode())
    page = at.sns.pages.pages[CERTIFICATE]
    at.sns.unavailable()
    answer = await at.topic(message)
    assert (answer.status_code, answer.json()["code"]) == (503, "sender-unavailable")
    assert answer.json()["is_retryable"]
    assert answer.headers["retry-after"] == "10"
    assert not await is_due(at.world)
    at.sns.pages.pages[CERTIFICATE] = page
    assert (await at.topic(message)).json() == ONE
    assert await is_due(at.world)


async def test_a_subscription_is_confirmed_and_its_end_noted() -> None:
    at = doors()
    confirmation = f"{HOST}/?Action=ConfirmSubscription&TopicArn={ARN.replace(':', '%3A')}&Token={TOKEN}"
    at.sns.pages.pages[confirmation] = b"<ok/>"
    for kind in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
        answer = await at.topic(at.sns.signed(kind))
        assert (answer.status_code, answer.json()) == (200, NOTHING)
    assert at.sns.pages.asked == [CERTIFICATE, confirmation]


async def test_a_subscription_makes_its_session_due() -> None:
    at = doors()
    key = (await at.world.mint(filename="two words+é.csv"))["object"]["key"]
    for _ in range(2):
        answer = await at.push(told(key))
        assert (answer.status_code, answer.json()) == (200, ONE)
    assert await is_due(at.world)
    assert (await at.push({"data": "aGVsbG8="})).json() == NOTHING
    assert (await at.push(7)).json() == {"accepted": 0, "ignored": 0, "malformed": 1}


@pytest.mark.parametrize(
    "token", [{"aud": "x"}, {"email": "x@y.z"}, {"iss": "x"}, {"exp": 0}, {"header": {"alg": "none"}}]
)
async def test_a_push_in_somebody_elses_name_is_refused_and_moves_nothing(token: dict[str, Any]) -> None:
    at = doors()
    key = (await at.world.mint())["object"]["key"]
    answer = await at.push(told(key), **token)
    assert (answer.status_code, answer.json()["code"]) == (401, "notification-not-authentic")
    assert not await is_due(at.world)


async def test_pubsub_is_asked_to_come_again_while_googles_certificates_cannot_be_had() -> None:
    at = doors()
    key = (await at.world.mint())["object"]["key"]
    at.google.unavailable()
    answer = await at.push(told(key))
    assert (answer.status_code, answer.json()["code"]) == (503, "sender-unavailable")
    assert answer.headers["retry-after"] == "10"
    assert not await is_due(at.world)
    at.google.publish("one")
    at.world.clock.advance(timedelta(seconds=5))
    assert (await at.push(told(key))).json() == ONE


async def test_a_bus_makes_its_session_due() -> None:
    at = doors()
    event = bridged((await at.world.mint(filename="two words+é.csv"))["object"]["key"])
    assert (await at.post("bus", event)).status_code == 401
    assert (await at.post("bus?token=" + DOOR_TOKEN, event)).status_code == 401
    assert not await is_due(at.world)
    answer = await at.post("bus", event, **API_KEY)
    assert (answer.status_code, answer.json()) == (200, ONE)
    assert await is_due(at.world)


async def test_no_door_opens_with_another_ones_key() -> None:
    at = doors()
    for source in ("topic", "bucket", "pubsub"):
        assert (await at.post(source, {}, **API_KEY)).status_code == 401
    assert (await at.post("topic", {}, authorization=f"Bearer {DOOR_TOKEN}")).status_code == 401
    assert (await at.post("bucket", at.sns.signed())).status_code == 401
    assert (await at.post("pubsub", pushed(told()), authorization=f"Bearer {DOOR_TOKEN}")).status_code == 401
    assert (await at.post("topic", {}, authorization=f"Bearer {at.google.token()}")).status_code == 401
    assert (await at.post("queue", {}, **API_KEY)).status_code == 404


FIELDS = [
    "Records",
    "Event",
    "Type",
    "Message",
    "detail-type",
    "source",
    "detail",
    "TopicArn",
    "s3",
    "bucket",
    "object",
]
WORDS = ["Notification", "SubscriptionConfirmation", "aws.s3", "Object Created", "ObjectCreated:Put", ARN, CERTIFICATE]
shapes = st.recursive(
    st.none() | st.integers() | st.sampled_from(WORDS) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner, max_size=6),
    max_leaves=20,
)


@settings(deadline=None, max_examples=60)
@given(shape=shapes, junk=st.binary(max_size=100))
def test_no_body_is_our_fault(shape: Any, junk: bytes) -> None:
    asyncio.run(_knock_everywhere(STANDING, shape, junk))


STANDING = doors()


async def _knock_everywhere(at: Doors, shape: Any, junk: bytes) -> None:
    bent = at.sns.signed() | shape if isinstance(shape, dict) else shape
    for body in (bent, junk, {"Records": [shape]}, bridged("k") | {"detail": shape}):
        for answer in (
            await at.topic(body),
            await at.post("bus", body, **API_KEY),
            await at.post("bucket", body, authorization=f"Bearer {DOOR_TOKEN}"),
            await at.post("pubsub", body, authorization=f"Bearer {at.google.token()}"),
            await at.push(body if isinstance(body, dict) else {"attributes": shape}),
        ):
            assert answer.status_code in {200, 401}, answer.text
    answer = await at.topic(at.sns.signed(Message=json.dumps({"Records": [shape, aws("k")]})))
    assert answer.status_code == 200
    assert sum(answer.json().values()) == 2  # "k" is no key of ours, and ignored
