"""An SQS queue as a mailbox (Amazon SQS API Reference, version 2012-11-05), by botocore in threads of its own.

Needs `sqs:ReceiveMessage` and `sqs:DeleteMessage` on the queue (they permit the batch calls too),
`sqs:ChangeMessageVisibility` to give back what a process that ends has not done, and `sqs:GetQueueAttributes` to learn
whether unreadable messages are put aside; for a queue encrypted with a key of one's own, `kms:Decrypt` on that.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from broker.doors.sqs_errors import understood
from broker.ports import Deletion, Message

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient
    from types_boto3_sqs.type_defs import MessageTypeDef

_log = logging.getLogger("broker.sqs")

T = TypeVar("T")

BATCH = 10  # ReceiveMessage, MaxNumberOfMessages; as many as the batch calls take
LONG_POLL = timedelta(seconds=20)  # ReceiveMessage, WaitTimeSeconds: the longest
LOAN = timedelta(seconds=60)  # ours: recording takes milliseconds; the rest is patience with a ledger that restarts
PATIENCE = timedelta(seconds=10)  # beyond the long poll, and for the other calls


def client_config(connections: int) -> Config:
    """One try a call: who calls knows better when to try again."""
    return Config(
        connect_timeout=5,
        read_timeout=(LONG_POLL + PATIENCE).total_seconds(),
        retries={"total_max_attempts": 1},
        max_pool_connections=connections,
        tcp_keepalive=True,  # a long poll is silent for longer than some gateways keep a connection
        user_agent_extra="upload-broker",
    )


class SqsMailbox:
    """
    :param source: its name in the configuration, for whoever reads what went wrong.
    :param open_client: called in a thread, until it succeeds.
    """

    def __init__(
        self,
        *,
        source: str,
        queue_url: str,
        open_client: "Callable[[], SQSClient]",
        threads: Executor,
        loan: timedelta = LOAN,
        long_poll: timedelta = LONG_POLL,
    ) -> None:
        self._source, self._queue_url = source, queue_url
        self._open_client, self._threads = open_client, threads
        self._loan, self._long_poll = loan, long_poll
        self._client: SQSClient | None = None
        self._opening = Lock()

    @property
    def loan(self) -> timedelta:
        return self._loan

    async def receive(self) -> Sequence[Message]:
        answer = await self._call(
            "sqs:ReceiveMessage",
            lambda client: client.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=BATCH,
                WaitTimeSeconds=int(self._long_poll.total_seconds()),
                VisibilityTimeout=int(self._loan.total_seconds()),
                MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
            ),
        )
        return [_message(each) for each in answer.get("Messages", ())]

    async def delete(self, messages: Sequence[Message]) -> Deletion:
        answer = await self._call(
            "sqs:DeleteMessage",
            lambda client: client.delete_message_batch(
                QueueUrl=self._queue_url,
                Entries=[{"Id": str(number), "ReceiptHandle": each.receipt} for number, each in enumerate(messages)],
            ),
        )
        again: list[Message] = []
        lost: list[Message] = []
        for failed in answer.get("Failed", ()):
            (lost if failed["SenderFault"] else again).append(messages[int(failed["Id"])])
        return Deletion(again=again, lost=lost)

    async def release(self, messages: Sequence[Message]) -> None:
        await self._call(
            "sqs:ChangeMessageVisibility",
            lambda client: client.change_message_visibility_batch(
                QueueUrl=self._queue_url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": each.receipt, "VisibilityTimeout": 0}
                    for number, each in enumerate(messages)
                ],
            ),
        )

    async def has_redrive(self) -> bool:
        answer = await self._call(
            "sqs:GetQueueAttributes",
            lambda client: client.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=["RedrivePolicy"]),
        )
        return bool(answer.get("Attributes", {}).get("RedrivePolicy"))

    async def _call(self, permission: str, call: "Callable[[SQSClient], T]") -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._with_client, call)
        except (BotoCoreError, ClientError, OSError, UnicodeError) as exc:  # the last: no JSON, and no text either
            raise understood(exc, source=self._source, queue_url=self._queue_url, permission=permission) from exc

    def _with_client(self, call: "Callable[[SQSClient], T]") -> T:
        """In a thread. Clients are for many threads, opening them is not (boto3, "Multithreading with clients")."""
        with self._opening:
            client = self._client = self._client or self._open_client()
        return call(client)


def _message(told: "MessageTypeDef") -> Message:
    """Servers that speak SQS without being it may leave attributes out."""
    attributes = told.get("Attributes", {})
    sent_ms = attributes.get("SentTimestamp")
    return Message(
        id=told["MessageId"],
        receipt=told["ReceiptHandle"],
        body=told["Body"],
        sent_at=None if sent_ms is None else datetime.fromtimestamp(int(sent_ms) / 1_000, UTC),
        deliveries=int(attributes.get("ApproximateReceiveCount", 1)),
    )
