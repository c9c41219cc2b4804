"""10,000 messages in ten queues: 30 % of the events doubled, all shuffled, 5 % of them poison, in every shape that AWS
sends; every poller killed twice with messages in its hands. Each session is settled once, by a HEAD of its own object.

The store tells nobody and the broker does not look by itself as long as this takes: what is settled, the queue told.
The seed is printed; `CHAOS_SEED` repeats it, `CHAOS_MESSAGES` makes it longer.
"""

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote_plus

import aiohttp
import pytest
import redis
from moto.sqs.models import SQSBackend
from yarl import URL

from broker.dev.children import Child
from broker.dev.stack import Stack, StackOptions, start_stack
from tests.moto_peer import MotoPeer, running_moto
from tests.queue_pollers import poller_beside
from tests.unit.doors.senders import aws, bridged, published, records

T = TypeVar("T")

MESSAGES = int(os.environ.get("CHAOS_MESSAGES", "10000"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
POISON = MESSAGES // 20
UPLOADS = int((MESSAGES - POISON) / 1.3)
DOUBLES = MESSAGES - POISON - UPLOADS
SHARDS = 4
SENDERS = 32
BODY = b"123456789"
QUEUES = 10
KILLED_AT = (0.8, 0.4)  # of the messages left
WITHIN = 90.0

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@dataclass(frozen=True, slots=True)
class Upload:
    session_id: str
    key: str


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    options = StackOptions(
        directory=tmp_path / "dev",
        shards=SHARDS,
        policy={"first_look": "1h", "longest_look_interval": "1h"},
        faults={"events_lost": 1.0},
        consumers=0,
        lease="1h",
    )
    running = start_stack(options)
    yield running
    running.stop()


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[MotoPeer]:
    """As it is, a queue of moto's walks itself several times for each message that it lends, by a slow clock."""
    monkeypatch.setattr(SQSBackend, "is_message_valid_based_on_retention_period", lambda *_: True)
    monkeypatch.setattr("moto.sqs.models.unix_time_millis", lambda: time.time() * 1_000)
    with running_moto() as peer:
        yield peer


def test_every_session_is_settled_once(stack: Stack, moto: MotoPeer, capsys: pytest.CaptureFixture[str]) -> None:
    dice, began = random.Random(SEED), time.monotonic()
    uploads = asyncio.run(_uploaded(stack))
    bodies = _bodies(uploads, stack.about.bucket, dice)
    poison = sum(_is_poison(body) for body in bodies)
    with redis.Redis.from_url(stack.about.redis, decode_responses=True) as ledger:
        aside = moto.queue()
        redrive = json.dumps({"deadLetterTargetArn": moto.arn(aside), "maxReceiveCount": "5"})
        queues = [moto.queue(RedrivePolicy=redrive) for _ in range(QUEUES)]
        _send(moto, queues, bodies)
        assert (sum(map(moto.count, queues)), _settled(ledger)) == (MESSAGES, 0)
        told = time.monotonic()
        settings: dict[str, Any] = {"visibility": "4s", "receivers": 1}
        pollers = [poller_beside(stack, moto, *queues, name=name, **settings) for name in ("one", "two")]
        lent = _polled(pollers, moto, queues, ledger)
        settled = time.monotonic()
        assert moto.count(aside) == poison
        _prove(ledger, {upload.session_id for upload in uploads})
    assert asyncio.run(_leased(stack)) == Counter(upload.session_id for upload in uploads)
    with capsys.disabled():
        print(
            f"\nqueue: seed {SEED}, {MESSAGES} messages of {UPLOADS} uploads, {poison} unreadable; killed with {lent} "
            f"messages in hand; prepared in {told - began:.0f} s, settled in {settled - told:.0f} s",
            end=" ",
        )


# --- what is told


async def _uploaded(stack: Stack) -> list[Upload]:
    """Objects that are there, of sessions that know nothing of it."""
    headers = {"authorization": f"Bearer {stack.about.api_key}"}
    wishes = [{"filename": f"a b+ü{number}.txt", "size_bytes": len(BODY)} for number in range(UPLOADS)]
    uploads: list[Upload] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=SENDERS)) as http:
        for some in _by(wishes, 1_000):
            url = f"{stack.about.broker}/upload-sessions/batch"
            async with http.post(url, json={"sessions": some}, headers=headers) as answer:
                minted = (await answer.json())["sessions"]
            uploads += await asyncio.gather(*(_put(http, item["session"]) for item in minted))
    return uploads


async def _put(http: aiohttp.ClientSession, session: dict[str, Any]) -> Upload:
    request = session["upload"]["request"]
    async with http.put(URL(request["url"], encoded=True), data=BODY, headers=request["headers"]) as answer:
        assert answer.status == 200, await answer.text()
    return Upload(session["id"], session["object"]["key"])


def _bodies(uploads: Sequence[Upload], bucket: str, dice: random.Random) -> list[str]:
    told = [*uploads, *dice.sample(uploads, DOUBLES)]
    shapes = [*_bent(bucket), *_whole(bucket)]
    bent = dict.fromkeys(dice.sample(range(len(told)), POISON // 2))
    bodies = [dice.choice(shapes[:2] if number in bent else shapes[2:])(each.key) for number, each in enumerate(told)]
    bodies += [dice.choice(RUBBISH) for _ in range(POISON - POISON // 2)]
    bodies += [json.dumps({"Event": "s3:TestEvent"})] * (MESSAGES - len(bodies))
    dice.shuffle(bodies)
    return bodies


RUBBISH = [
    "rubbish",
    "{}",
    '{"Records": 7}',
    records({}).decode(),
    records(aws("%ff")).decode(),
    json.dumps(published(records(aws("%ff")).decode())),
    json.dumps(bridged("k") | {"detail": []}),
]


def _is_poison(body: str) -> bool:
    return body in RUBBISH


def _whole(bucket: str) -> list[Callable[[str], str]]:
    def bare(key: str) -> str:
        return records(aws(quote_plus(key, safe="/"), bucket=bucket)).decode()

    return [
        bare,
        lambda key: json.dumps(published(bare(key))),
        lambda key: json.dumps(bridged(key, bucket=bucket)),
        lambda key: json.dumps(published(json.dumps(bridged(key, bucket=bucket)))),
    ]


def _bent(bucket: str) -> list[Callable[[str], str]]:
    """The only word about an upload, beside records that nobody can read."""

    def beside(key: str) -> str:
        return records({}, aws(quote_plus(key, safe="/"), bucket=bucket), aws("%ff"), 7).decode()

    return [beside, lambda key: json.dumps(published(beside(key)))]


def _by(many: Sequence[T], count: int) -> Iterator[Sequence[T]]:
    return (many[start : start + count] for start in range(0, len(many), count))


def _send(moto: MotoPeer, queues: Sequence[str], bodies: Sequence[str]) -> None:
    def send(queue: str, some: Sequence[str]) -> None:
        entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(some)]
        assert not moto.sqs.send_message_batch(QueueUrl=queue, Entries=entries).get("Failed")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(send, cycle(queues), _by(bodies, 10)))


# --- the storm


def _polled(pollers: Sequence[Child], moto: MotoPeer, queues: Sequence[str], ledger: Any) -> int:
    """Until nothing is left to do. How many messages were in the hands of those who were killed."""
    lent = 0

    def left() -> int:
        return sum(map(moto.count, queues))

    try:
        for poller in pollers:
            poller.start()
        for share in KILLED_AT:
            _wait(lambda share=share: left() <= share * MESSAGES, "they are at work")  # type: ignore[misc]
            for poller in pollers:
                poller.kill()
            in_hand = sum(_in_hand(moto, queue) for queue in queues)
            assert 0 < in_hand <= left()
            lent += in_hand
            for poller in pollers:
                poller.start()
        _wait(lambda: _settled(ledger) == UPLOADS, "every session is settled")
        _wait(lambda: left() == 0, "nothing is left in the queues")
    finally:
        for poller in pollers:
            poller.kill()
    return lent


def _in_hand(moto: MotoPeer, queue: str) -> int:
    name = "ApproximateNumberOfMessagesNotVisible"
    return int(moto.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=[name])["Attributes"][name])


def _wait(is_so: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + WITHIN
    while not is_so():
        assert time.monotonic() < ends, what
        time.sleep(0.05)  # who works here is another process


def _settled(ledger: Any) -> int:
    """Every session leaves one event when it begins, and one when it is settled."""
    return sum(ledger.xlen(f"events:{{{number:02x}}}") for number in range(SHARDS)) - UPLOADS


# --- the proof


def _prove(ledger: Any, sessions: set[str]) -> None:
    seen: Counter[tuple[str, str]] = Counter()
    for number in range(SHARDS):
        for _, fields in ledger.xrange(f"events:{{{number:02x}}}"):
            seen[fields["id"], fields["state"]] += 1
    assert seen == Counter((each, state) for each in sessions for state in ("pending", "verified"))


async def _leased(stack: Stack) -> Counter[str]:
    """Every job that there is."""
    headers, jobs = {"authorization": f"Bearer {stack.about.consumer_key}"}, Counter[str]()
    async with aiohttp.ClientSession() as http:
        while True:
            wish = {"max": 100, "wait_seconds": 0, "worker": "w"}
            async with http.post(f"{stack.about.broker}/jobs/lease", json=wish, headers=headers) as answer:
                assert answer.status == 200, await answer.text()
                some = (await answer.json())["jobs"]
            if not some:
                return jobs
            jobs.update(job["id"] for job in some)
