"""Every mailbox that the contract suite runs over: the one in memory, and SQS as moto speaks it."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import pytest
from botocore.session import Session

from broker.doors.sqs import SqsMailbox, client_config
from broker.doors.threads import DaemonThreads
from broker.ports import Mailbox
from tests.memory_mailbox import MemoryMailbox
from tests.moto_peer import ACCESS_KEY, REGION, SECRET_KEY, MotoPeer, running_moto

LOAN = timedelta(seconds=1)  # the shortest of SQS
LONG_POLL = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A mailbox, and who writes to it."""

    mailbox: Mailbox
    send: Callable[[str], object]


MakeBox = Callable[..., Box]


@pytest.fixture(scope="session")
def moto() -> Iterator[MotoPeer]:
    with running_moto() as peer:
        yield peer


@pytest.fixture(params=["memory", "sqs"])
async def make_box(request: pytest.FixtureRequest) -> AsyncIterator[MakeBox]:
    """`make_box(is_redriven=…, loan=…)`."""
    if request.param == "memory":
        yield _memory
        return
    threads = DaemonThreads(4, "sqs-test")
    yield partial(_sqs, request.getfixturevalue("moto"), threads)
    threads.shutdown()


def _memory(*, is_redriven: bool = False, loan: timedelta = LOAN) -> Box:
    mailbox = MemoryMailbox(loan=loan, long_poll=LONG_POLL, is_redriven=is_redriven)
    return Box(mailbox=mailbox, send=mailbox.send)


def _sqs(moto: MotoPeer, threads: DaemonThreads, *, is_redriven: bool = False, loan: timedelta = LOAN) -> Box:
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
        long_poll=LONG_POLL,
    )
    return Box(mailbox=mailbox, send=lambda body: moto.sqs.send_message(QueueUrl=url, MessageBody=body))
