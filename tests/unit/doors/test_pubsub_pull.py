"""What a subscription may answer, word for word on the wire, and what the broker makes of it."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from broker.domain.errors import BrokerError, CredentialsUnavailable, SourceRefused, SourceUnavailable
from broker.doors.pubsub_pull import PAUSE, PubsubMailbox
from broker.ports import Message
from tests.answering import Had, answering
from tests.unit.doors.google_world import told

SUBSCRIPTION = "projects/acme/subscriptions/a+b%c"
PATH = "/v1/projects/acme/subscriptions/a%2Bb%25c"
TOKEN = "canary-of-a-secret"
Answers = dict[tuple[str, str], tuple[int, bytes]]


class Bearer:
    """Notes which tokens were not taken."""

    def __init__(self) -> None:
        self.distrusted: list[str] = []
        self.trouble: CredentialsUnavailable | None = None

    async def token(self) -> str:
        if self.trouble is not None:
            raise self.trouble
        return f"{TOKEN}-{len(self.distrusted)}"

    def distrust(self, token: str) -> None:
        self.distrusted.append(token)


class Server:
    """A mailbox whose subscription answers what `says` last said."""

    def __init__(self, endpoint: str, had: list[Had], answers: Answers, http: aiohttp.ClientSession) -> None:
        self.had, self._answers, self.bearer = had, answers, Bearer()
        self.mailbox = mailbox_at(endpoint, http, self.bearer)

    def says(self, verb: str, status: int, body: object = None) -> None:
        text = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        self._answers["POST" if verb else "GET", PATH + verb] = (status, text)

    @property
    def asked(self) -> Any:
        return json.loads(self.had[-1].body)

    @property
    def calls(self) -> list[str]:
        return [each.path.removeprefix(PATH) for each in self.had]


def mailbox_at(endpoint: str, http: aiohttp.ClientSession, bearer: Bearer, **more: timedelta) -> PubsubMailbox:
    return PubsubMailbox(
        source="gcs", subscription=SUBSCRIPTION, endpoint=endpoint + "/", http=http, bearer=bearer, **more
    )


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def server(http: aiohttp.ClientSession) -> AsyncIterator[Server]:
    answers: Answers = {}
    with answering(answers) as (url, had):
        made = Server(url, had, answers, http)
        yield made
        await made.mailbox.close()


def messages(count: int) -> list[Message]:
    return [Message(id=f"m{number}", receipt=f"r{number}", body="{}") for number in range(count)]


def received(ack_id: str = "r", message: object = None, **more: object) -> dict[str, object]:
    return {"ackId": ack_id, "message": told() if message is None else message, **more}


async def test_it_asks_in_its_own_name_for_a_full_batch(server: Server) -> None:
    server.says(":pull", 200)
    assert not await server.mailbox.receive()
    (had,) = server.had
    assert (had.method, had.path, had.token) == ("POST", f"{PATH}:pull", f"Bearer {TOKEN}-0")
    assert server.asked == {"maxMessages": 100, "returnImmediately": False}


async def test_after_trouble_it_does_not_wait_to_know_whether_it_is_over(server: Server) -> None:
    asked: list[bool] = []
    for status in (503, 403, 200, 200):
        server.says(":pull", status)
        if status == 200:
            assert not await server.mailbox.receive()
        else:
            with pytest.raises(BrokerError):
                await server.mailbox.receive()
        asked.append(server.asked["returnImmediately"])
    assert asked == [False, True, True, False]


async def test_a_message_is_lent_as_it_was_published(server: Server) -> None:
    server.says(":pull", 200, {"receivedMessages": [received("r1", deliveryAttempt=3)]})
    (message,) = await server.mailbox.receive()
    assert (message.id, message.receipt, message.deliveries) == (told()["messageId"], "r1", 3)
    assert json.loads(message.body) == told()
    assert message.sent_at == datetime(2026, 11, 20, 12, 0, 0, 456_000, UTC)


@pytest.mark.parametrize("odd", [7, None, [], "text", {"messageId": 7}, {"publishTime": "yesterday"}, {}], ids=str)
async def test_an_odd_message_costs_none_beside_it(server: Server, odd: object) -> None:
    both = [{"ackId": "r1", "message": odd}, received("r2")]
    server.says(":pull", 200, {"receivedMessages": both})
    one, other = await server.mailbox.receive()
    assert (one.receipt, json.loads(one.body), one.sent_at, one.deliveries) == ("r1", odd, None, 1)
    assert (other.receipt, other.id) == ("r2", told()["messageId"])


async def test_a_server_that_does_not_wait_is_not_asked_without_a_pause(server: Server) -> None:
    for status in (200, 504):
        server.says(":pull", status)
        began = time.monotonic()
        assert not await server.mailbox.receive()
        assert time.monotonic() - began >= 0.9 * PAUSE.total_seconds()


async def test_what_is_deleted_is_acknowledged(server: Server) -> None:
    server.says(":acknowledge", 200)
    deletion = await server.mailbox.delete(messages(3))
    assert not deletion.again
    assert not deletion.lost
    assert server.asked == {"ackIds": ["r0", "r1", "r2"]}


def refusal(status: int, name: str, *details: object) -> dict[str, object]:
    text = f"User not authorized: {TOKEN} of principal@acme.iam.gserviceaccount.com"
    return {"error": {"code": status, "message": text, "status": name, "details": details}}


async def test_of_a_batch_that_was_half_taken_it_tells_what_to_try_again_and_what_is_lost(server: Server) -> None:
    """ "Exactly-once delivery": of what nobody mentions nobody knows, and another try harms nothing."""
    fates = {"r0": "PERMANENT_FAILURE_INVALID_ACK_ID", "r2": "TRANSIENT_FAILURE_UNORDERED_ACK_ID"}
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "EXACTLY_ONCE_ACKID_FAILURE"}
    other = {"@type": "type.googleapis.com/google.rpc.Help", "links": [], "metadata": {"r1": 7}}
    server.says(":acknowledge", 400, refusal(400, "FAILED_PRECONDITION", other, info | {"metadata": fates}))
    batch = messages(4)
    deletion = await server.mailbox.delete(batch)
    assert (deletion.lost, deletion.again) == ([batch[0]], batch[1:])


async def test_what_is_given_back_is_visible_at_once(server: Server) -> None:
    server.says(":modifyAckDeadline", 200)
    await server.mailbox.release(messages(2))
    assert server.asked == {"ackIds": ["r0", "r1"], "ackDeadlineSeconds": 0}


@pytest.mark.parametrize(
    ("body", "has_redrive"),
    [
        ({"name": SUBSCRIPTION, "topic": "projects/acme/topics/t"}, False),
        ({"deadLetterPolicy": {}}, False),
        ({"deadLetterPolicy": None}, False),
        ({"deadLetterPolicy": {"deadLetterTopic": "projects/acme/topics/dead", "maxDeliveryAttempts": 5}}, True),
    ],
)
async def test_a_dead_letter_topic_puts_aside(server: Server, body: object, has_redrive: bool) -> None:
    server.says("", 200, body)
    assert await server.mailbox.has_redrive() is has_redrive
    assert (server.had[-1].method, server.had[-1].path) == ("GET", PATH)


CALLS = {"receive": ":pull", "delete": ":acknowledge", "release": ":modifyAckDeadline", "has_redrive": ""}


async def called(server: Server, call: str) -> object:
    arguments = [messages(1)] if call in {"delete", "release"} else []
    return await getattr(server.mailbox, call)(*arguments)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "kind", "sentence"),
    [
        (400, SourceRefused, f"sources.gcs: {SUBSCRIPTION} does not take the call"),
        (401, CredentialsUnavailable, f"sources.gcs: the credential is not accepted for {SUBSCRIPTION}"),
        (403, SourceRefused, f"on {SUBSCRIPTION} is not permitted"),
        (404, SourceRefused, f"there is no subscription {SUBSCRIPTION}"),
        (429, SourceUnavailable, "asks for patience"),
        (500, SourceUnavailable, "fails (500 Internal Server Error)"),
        (503, SourceUnavailable, "fails"),
        (302, SourceUnavailable, "fails"),
        (204, SourceUnavailable, "fails"),
        (599, SourceUnavailable, "fails (599)"),
    ],
)
async def test_a_refusal_says_what_must_be_mended(
    server: Server, call: str, status: int, kind: type[BrokerError], sentence: str
) -> None:
    server.says(CALLS[call], status, b"" if status == 204 else refusal(status, "X"))
    with pytest.raises(kind) as raised:
        await called(server, call)
    assert type(raised.value) is kind
    assert sentence in raised.value.detail
    assert TOKEN not in raised.value.detail
    assert "principal" not in raised.value.detail
    assert server.bearer.distrusted == ([f"{TOKEN}-0"] if status == 401 else [])


@pytest.mark.parametrize("call", CALLS)
async def test_a_permission_that_is_missing_is_called_by_its_name(server: Server, call: str) -> None:
    server.says(CALLS[call], 403)
    permission = "get" if call == "has_redrive" else "consume"
    with pytest.raises(SourceRefused, match=f"pubsub.subscriptions.{permission} on"):
        await called(server, call)


@pytest.mark.parametrize("body", [b"<html>", b"", b"[", b"\xff\xfe", b"[" * 100_000, b"[7]"])
async def test_an_answer_that_nobody_can_read_is_trouble_and_no_crash(server: Server, body: bytes) -> None:
    for call in ("receive", "has_redrive"):
        server.says(CALLS[call], 200, body)
        with pytest.raises(SourceUnavailable, match="is not Pub/Sub's"):
            await called(server, call)
    for call, verb in CALLS.items():
        server.says(verb, 400, body)
        with pytest.raises(SourceRefused):
            await called(server, call)


async def test_a_token_that_is_not_had_is_not_asked_with(server: Server) -> None:
    server.bearer.trouble = CredentialsUnavailable("nothing there")
    for call in CALLS:
        with pytest.raises(CredentialsUnavailable):
            await called(server, call)
    assert not server.had


async def test_a_server_that_is_not_reached_is_trouble(http: aiohttp.ClientSession) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        mailbox = mailbox_at(f"http://127.0.0.1:{nobody.getsockname()[1]}", http, Bearer())
        with pytest.raises(SourceUnavailable, match="no answer about"):
            await mailbox.receive()


async def test_a_pull_that_is_not_answered_is_given_up_and_can_be_cut_off(http: aiohttp.ClientSession) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        short = mailbox_at(endpoint, http, Bearer(), long_poll=timedelta(seconds=0.3))
        assert not await short.receive()
        asking = asyncio.create_task(mailbox_at(endpoint, http, Bearer()).receive())
        await asyncio.sleep(0.05)
        asking.cancel()
        async with asyncio.timeout(2):
            with pytest.raises(asyncio.CancelledError):
                await asking


# --- loans


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - who is asked is a server in a thread
            await asyncio.sleep(0.01)


async def lent(server: Server, *receipts: str, **times: timedelta) -> PubsubMailbox:
    """A mailbox that has these in hand."""
    url, session = server.mailbox._url, server.mailbox._http
    mailbox = mailbox_at(url.removesuffix(PATH), session, server.bearer, **times)
    server.says(":pull", 200, {"receivedMessages": [received(each) for each in receipts]})
    await mailbox.receive()
    server.had.clear()
    return mailbox


async def test_what_is_in_hand_for_long_is_prolonged_once_to_its_whole_loan(server: Server) -> None:
    server.says(":modifyAckDeadline", 200)
    server.says(":acknowledge", 200)
    times = {"loan": timedelta(seconds=60), "lent_for": timedelta(seconds=1)}
    mailbox = await lent(server, "r0", "r1", "r2", **times)
    await mailbox.delete(messages(1))
    await until(lambda: ":modifyAckDeadline" in server.calls)
    assert server.calls == [":acknowledge", ":modifyAckDeadline"]
    assert server.asked["ackDeadlineSeconds"] == 59
    assert sorted(server.asked["ackIds"]) == ["r1", "r2"]
    await mailbox.delete(messages(3)[1:])
    assert len(mailbox._loans) == 0
    await mailbox.close()


async def test_what_is_done_in_time_costs_no_call(server: Server) -> None:
    server.says(":modifyAckDeadline", 200)
    server.says(":acknowledge", 200)
    mailbox = await lent(server, "r0", "r1", lent_for=timedelta(seconds=0.1))
    await mailbox.delete(messages(1))
    await mailbox.release(messages(2)[1:])
    await asyncio.sleep(0.2)
    assert server.calls == [":acknowledge", ":modifyAckDeadline"]
    assert server.asked["ackDeadlineSeconds"] == 0
    await mailbox.close()


async def test_a_loan_that_is_long_enough_is_not_prolonged_and_forgotten_when_it_is_over(server: Server) -> None:
    mailbox = await lent(server, "r0", loan=timedelta(seconds=0.1), lent_for=timedelta(seconds=0.1))
    assert len(mailbox._loans) == 1
    await until(lambda: len(mailbox._loans) == 0)
    assert server.calls == []


async def test_a_loan_that_cannot_be_prolonged_is_tried_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("broker.doors.pubsub_loans.PAUSE", timedelta(seconds=0.05))
    server.says(":modifyAckDeadline", 503)
    mailbox = await lent(server, "r0", lent_for=timedelta(seconds=0.1))
    await until(lambda: len(caplog.records) == 3)
    assert server.calls == [":modifyAckDeadline"] * 3
    assert {record.message for record in caplog.records} == {"pubsub.not-prolonged"}
    await mailbox.close()


async def test_closing_leaves_nothing_behind(server: Server) -> None:
    server.says(":modifyAckDeadline", 200)
    mailbox = await lent(server, "r0", lent_for=timedelta(seconds=0.02))
    await until(lambda: ":modifyAckDeadline" in server.calls)
    await mailbox.close()
    assert len(mailbox._loans) == 0
    assert len(asyncio.all_tasks()) == 1
