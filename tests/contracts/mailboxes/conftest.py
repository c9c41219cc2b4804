"""Every mailbox that the contract suite runs over: the one in memory, SQS as moto speaks it, Pub/Sub as our emulator
does, and Google's own where it is installed."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import aiohttp
import pytest
from botocore.session import Session

from broker.doors import pubsub_pull
from broker.doors.pubsub_pull import PubsubMailbox
from broker.doors.sqs import SqsMailbox, client_config
from broker.doors.threads import DaemonThreads
from broker.ports import Mailbox, Message
from emulators.pubsub.process import start_pubsub
from tests.memory_mailbox import MemoryMailbox
from tests.moto_peer import ACCESS_KEY, REGION, SECRET_KEY, MotoPeer, running_moto
from tests.pubsub_peer import PubsubPeer, SteadyBearer, text_of

LOAN = timedelta(seconds=1)  # the shortest of SQS
LONG_POLL = timedelta(seconds=2)
GOOGLES_LOAN = timedelta(seconds=10)  # the shortest of Pub/Sub; our emulator knows shorter ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A mailbox, and who writes to it.

    :param said: what the sender said in a message, without what its service puts around it.
    :param batch: the most messages that are lent at once.
    """

    mailbox: Mailbox
    send: Callable[[str], object]
    said: Callable[[Message], str] = lambda message: message.body
    batch: int = 10


MakeBox = Callable[..., Box]


@pytest.fixture(scope="session")
def moto() -> Iterator[MotoPeer]:
    with running_moto() as peer:
        yield peer


@pytest.fixture(scope="session")
def pubsub() -> Iterator[PubsubPeer]:
    with start_pubsub() as running:
        yield PubsubPeer(running.endpoint)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture(params=["memory", "sqs", "pubsub", pytest.param("google", marks=pytest.mark.google_pubsub)])
async def make_box(request: pytest.FixtureRequest, http: aiohttp.ClientSession) -> AsyncIterator[MakeBox]:
    """`make_box(is_redriven=…, loan=…, long_poll=…)`."""
    match request.param:
        case "memory":
            yield _memory
        case "sqs":
            threads = DaemonThreads(4, "sqs-test")
            yield partial(_sqs, request.getfixturevalue("moto"), threads)
            threads.shutdown()
        case "pubsub":
            async with AsyncExitStack() as stack:
                yield partial(_pubsub, request.getfixturevalue("pubsub"), LOAN, http, stack)
        case "google":
            async with AsyncExitStack() as stack:
                yield partial(_pubsub, request.getfixturevalue("google_pubsub"), GOOGLES_LOAN, http, stack)


def _memory(*, is_redriven: bool = False, loan: timedelta = LOAN, long_poll: timedelta = LONG_POLL) -> Box:
    mailbox = MemoryMailbox(loan=loan, long_poll=long_poll, is_redriven=is_redriven)
    return Box(mailbox=mailbox, send=mailbox.send)


def _sqs(
    moto: MotoPeer,
    threads: DaemonThreads,
    *,
    is_redriven: bool = False,
    loan: timedelta = LOAN,
    long_poll: timedelta = LONG_POLL,
) -> Box:
    policy = f'{{"deadLetterTargetArn": "{moto.arn(moto.queue())}", "maxReceiveCount": 3}}' if is_redriven else None
    url = moto.queue(**({"RedrivePolicy": policy} if policy else {}))

    def open_client() -> object:
        session = Session()
        session.set_credentials(ACCESS_KEY, SECRET_KEY)
        return session.create_client("sqs", region_name=REGION, endpoint_url=moto.url, config=client_config(4))

    mailbox = SqsMailbox(
        source="test",
        queue_url=url,
        open_client=open_client,  # type: ignore[arg-type]
        threads=threads,
        loan=loan,
        long_poll=long_poll,
    )
    return Box(mailbox=mailbox, send=lambda body: moto.sqs.send_message(QueueUrl=url, MessageBody=body))


def _pubsub(
    peer: PubsubPeer,
    least: timedelta,
    http: aiohttp.ClientSession,
    stack: AsyncExitStack,
    *,
    is_redriven: bool = False,
    loan: timedelta | None = None,
    long_poll: timedelta = pubsub_pull.LONG_POLL,
) -> Box:
    """It waits for as long as it does for the broker: Google's emulator lends to those who hung up, for ten seconds."""
    topic = peer.topic()
    dead = peer.topic() if is_redriven else ""
    mailbox = PubsubMailbox(
        source="test",
        subscription=peer.subscription(topic, ack_seconds=int(least.total_seconds()), dead=dead),
        endpoint=peer.url,
        http=http,
        bearer=SteadyBearer(),
        loan=loan or least,
        lent_for=least,
        long_poll=long_poll,
    )
    stack.push_async_callback(mailbox.close)
    return Box(
        mailbox=mailbox, send=lambda text: peer.send(topic, text), said=lambda each: text_of(each.body), batch=100
    )
