"""What a queue may answer, word for word on the wire, and what the broker makes of it."""

import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from botocore.session import Session

from broker.domain.errors import BrokerError, CredentialsUnavailable, SourceRefused, SourceUnavailable
from broker.doors.sqs import SqsMailbox, client_config
from broker.doors.threads import DaemonThreads
from broker.ports import Message
from tests.answering import Had, answering

URL = "https://sqs.eu-central-1.amazonaws.com/123456789012/uploads"
CANARY = "canary-of-a-secret"
ASKED = ("POST", "/")


class Queue:
    """A mailbox whose queue answers what `says` last said."""

    def __init__(self, endpoint: str, had: list[Had], answers: dict[tuple[str, str], tuple[int, bytes]]) -> None:
        self.had, self._answers = had, answers
        self.threads = DaemonThreads(2, "sqs-test")
        self.mailbox = mailbox_at(endpoint, self.threads)

    def says(self, status: int, body: object) -> None:
        self._answers[ASKED] = (status, body if isinstance(body, bytes) else json.dumps(body).encode())

    @property
    def asked(self) -> Any:
        return json.loads(self.had[-1].body)


def mailbox_at(endpoint: str, threads: DaemonThreads, *, is_signing: bool = True) -> SqsMailbox:
    def open_client() -> Any:
        session = Session()
        if is_signing:
            session.set_credentials("AKIAEXAMPLE", CANARY, CANARY)
        else:
            session.get_component("credential_provider").providers.clear()
        return session.create_client("sqs", region_name="eu-central-1", endpoint_url=endpoint, config=client_config(2))

    return SqsMailbox(source="aws", queue_url=URL, open_client=open_client, threads=threads)


@pytest.fixture
def queue() -> Iterator[Queue]:
    answers: dict[tuple[str, str], tuple[int, bytes]] = {}
    with answering(answers) as (url, had):
        found = Queue(url, had, answers)
        yield found
        found.threads.shutdown()


@pytest.fixture
async def threads() -> AsyncIterator[DaemonThreads]:
    own = DaemonThreads(2, "sqs-test")
    yield own
    own.shutdown()


def messages(count: int) -> list[Message]:
    return [Message(id=f"m{number}", receipt=f"r{number}", body="{}") for number in range(count)]


async def test_it_asks_for_a_full_batch_and_waits_as_long_as_sqs_lets_it(queue: Queue) -> None:
    queue.says(200, {})
    assert await queue.mailbox.receive() == []
    assert queue.asked == {
        "QueueUrl": URL,
        "MaxNumberOfMessages": 10,
        "WaitTimeSeconds": 20,
        "VisibilityTimeout": 60,
        "MessageSystemAttributeNames": ["SentTimestamp", "ApproximateReceiveCount"],
    }


async def test_a_server_that_leaves_attributes_out_is_served_all_the_same(queue: Queue) -> None:
    queue.says(200, {"Messages": [{"MessageId": "m", "ReceiptHandle": "r", "Body": "b"}]})
    (message,) = await queue.mailbox.receive()
    assert (message.id, message.receipt, message.body) == ("m", "r", "b")
    assert (message.sent_at, message.deliveries) == (None, 1)


async def test_of_a_batch_that_was_half_deleted_it_tells_what_to_try_again_and_what_is_lost(queue: Queue) -> None:
    failed = [
        {"Id": "0", "SenderFault": False, "Code": "InternalError"},
        {"Id": "2", "SenderFault": True, "Code": "ReceiptHandleIsInvalid"},
    ]
    queue.says(200, {"Successful": [{"Id": "1"}, {"Id": "3"}], "Failed": failed})
    batch = messages(4)
    deletion = await queue.mailbox.delete(batch)
    assert (deletion.again, deletion.lost) == ([batch[0]], [batch[2]])
    assert [entry["ReceiptHandle"] for entry in queue.asked["Entries"]] == ["r0", "r1", "r2", "r3"]


async def test_what_is_given_back_is_visible_at_once(queue: Queue) -> None:
    queue.says(200, {"Successful": [], "Failed": []})
    await queue.mailbox.release(messages(2))
    assert [entry["VisibilityTimeout"] for entry in queue.asked["Entries"]] == [0, 0]


def error(code: str) -> dict[str, str]:
    principal = "User: arn:aws:iam::123456789012:user/broker is not authorized"
    return {"__type": f"com.amazonaws.sqs#{code}", "message": principal}


@pytest.mark.parametrize(
    ("status", "code", "kind", "sentence"),
    [
        (400, "QueueDoesNotExist", SourceRefused, f"sources.aws: there is no queue {URL}"),
        (400, "AWS.SimpleQueueService.NonExistentQueue", SourceRefused, f"there is no queue {URL}"),
        (403, "AccessDenied", SourceRefused, f"sources.aws: sqs:ReceiveMessage on {URL} is not permitted"),
        (400, "AccessDeniedException", SourceRefused, "sqs:ReceiveMessage"),
        (400, "KmsAccessDenied", SourceRefused, f"kms:Decrypt is needed on the key that encrypts {URL}"),
        (400, "KMS.DisabledException", SourceRefused, "kms:Decrypt"),
        (400, "KmsThrottled", SourceUnavailable, "asks for patience"),
        (403, "RequestThrottled", SourceUnavailable, "asks for patience"),
        (400, "ThrottlingException", SourceUnavailable, "asks for patience"),
        (403, "OverLimit", SourceUnavailable, "asks for patience"),
        (403, "ExpiredToken", CredentialsUnavailable, "sources.aws: the credential is not accepted"),
        (400, "ExpiredTokenException", CredentialsUnavailable, "the credential is not accepted"),
        (403, "InvalidClientTokenId", CredentialsUnavailable, "the credential is not accepted"),
        (403, "SignatureDoesNotMatch", CredentialsUnavailable, "the credential is not accepted"),
        (500, "InternalFailure", SourceUnavailable, f"{URL} fails (InternalFailure)"),
        (503, "ServiceUnavailable", SourceUnavailable, "fails"),
        (400, "SomethingNew", SourceUnavailable, "fails (SomethingNew)"),
    ],
)
async def test_a_refusal_says_what_must_be_mended(
    queue: Queue, status: int, code: str, kind: type[BrokerError], sentence: str
) -> None:
    queue.says(status, error(code))
    with pytest.raises(kind) as raised:
        await queue.mailbox.receive()
    assert type(raised.value) is kind
    assert sentence in raised.value.detail
    assert "arn:aws:iam" not in raised.value.detail
    assert CANARY not in raised.value.detail


@pytest.mark.parametrize(
    ("call", "permission"),
    [
        ("receive", "sqs:ReceiveMessage"),
        ("delete", "sqs:DeleteMessage"),
        ("release", "sqs:ChangeMessageVisibility"),
        ("has_redrive", "sqs:GetQueueAttributes"),
    ],
)
async def test_a_permission_that_is_missing_is_called_by_its_name(queue: Queue, call: str, permission: str) -> None:
    queue.says(403, error("AccessDenied"))
    arguments = [messages(1)] if call in {"delete", "release"} else []
    with pytest.raises(SourceRefused, match=f"{permission} on {URL} is not permitted"):
        await getattr(queue.mailbox, call)(*arguments)


@pytest.mark.parametrize("body", [b"<html>502</html>", b"", b"[", b"\xff\xfe"])
async def test_an_answer_that_nobody_can_read_is_trouble_and_no_crash(queue: Queue, body: bytes) -> None:
    for status in (200, 502):
        queue.says(status, body)
        try:
            assert not await queue.mailbox.receive()
        except SourceUnavailable:
            continue


async def test_a_queue_that_is_not_reached_is_trouble(threads: DaemonThreads) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        mailbox = mailbox_at(f"http://127.0.0.1:{nobody.getsockname()[1]}", threads)
        with pytest.raises(SourceUnavailable, match="no answer about"):
            await mailbox.receive()


async def test_without_anything_to_sign_with_it_says_so(queue: Queue, threads: DaemonThreads) -> None:
    with pytest.raises(CredentialsUnavailable, match="nothing to sign with"):
        await mailbox_at("http://127.0.0.1:1", threads, is_signing=False).receive()
    assert not queue.had
