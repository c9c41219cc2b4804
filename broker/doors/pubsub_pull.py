"""A subscription of Pub/Sub as a mailbox (Pub/Sub API v1, `projects.subscriptions`), by REST over a session of ours.

Needs `pubsub.subscriptions.consume` on the subscription (roles/pubsub.subscriber), and `pubsub.subscriptions.get`
(roles/pubsub.viewer) to learn whether unreadable messages are put aside.

A message's body is the `PubsubMessage` as Pub/Sub writes it: what matters stands in its attributes. How often it was
lent is told only where the subscription has a dead-letter topic. A message that is acknowledged too late comes again,
and nobody says so, unless the subscription delivers exactly once.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec import Raw, Struct
from yarl import URL

from broker.domain.errors import BrokerError, SourceUnavailable
from broker.doors.pubsub_errors import fates_in, understood
from broker.doors.pubsub_loans import LEAST, Loans
from broker.ports import Deletion, Message

BATCH = 100  # ours: subscriptions.pull gives 1,000 at most, and mostly fewer than it is asked for
LOAN = timedelta(seconds=60)  # ours: recording takes milliseconds; the rest is patience with a ledger that restarts
# Ours: longer than Pub/Sub lets an empty pull wait (its emulator 90 s). To those who hung up before, messages may still
# be lent – by that emulator they are – and come again only when that loan is over.
LONG_POLL = timedelta(seconds=100)
PATIENCE = timedelta(seconds=10)  # for the other calls
PAUSE = timedelta(milliseconds=250)  # ours: before a server that does not wait is asked again
MAX_ANSWER_BYTES = 64 * 2**20  # ours: a notification has some two kilobytes

_CONSUME, _GET = "pubsub.subscriptions.consume", "pubsub.subscriptions.get"


class Bearer(Protocol):
    """As whom we ask."""

    async def token(self) -> str:
        """An access token that is good now.

        :raises CredentialsUnavailable:
        """

    def distrust(self, token: str) -> None:
        """It was not taken: the next one is another."""


class _Received(Struct, frozen=True, rename="camel"):
    ack_id: str
    message: Raw
    delivery_attempt: int = 0


class _Pulled(Struct, frozen=True, rename="camel"):
    received_messages: tuple[_Received, ...] = ()


class _Named(Struct, frozen=True, rename="camel"):
    message_id: str = ""
    publish_time: datetime | None = None


class _Subscription(Struct, frozen=True, rename="camel"):
    dead_letter_policy: Raw = Raw(b"null")


_decode_pulled = msgspec.json.Decoder(_Pulled).decode
_decode_named = msgspec.json.Decoder(_Named).decode
_decode_subscription = msgspec.json.Decoder(_Subscription).decode
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    body: bytes


class PubsubMailbox:
    """
    :param source: its name in the configuration, for whoever reads what went wrong.
    :param subscription: its full name.
    :param http: without a timeout of its own, and with as many connections as there are receivers, twice.
    :param loan: for how long a message is ours.
    :param lent_for: how long the subscription lends at least.
    """

    def __init__(
        self,
        *,
        source: str,
        subscription: str,
        endpoint: str,
        http: aiohttp.ClientSession,
        bearer: Bearer,
        loan: timedelta = LOAN,
        lent_for: timedelta = LEAST,
        long_poll: timedelta = LONG_POLL,
    ) -> None:
        self._source, self._subscription = source, subscription
        self._url = f"{endpoint.rstrip('/')}/v1/{quote(subscription, safe='/:')}"
        self._http, self._bearer = http, bearer
        self._loan, self._long_poll = loan, long_poll
        self._loans = Loans(whole=loan, least=lent_for, prolong=self._prolong)
        self._is_doubted = False

    @property
    def loan(self) -> timedelta:
        return self._loan

    async def receive(self) -> Sequence[Message]:
        """After trouble it does not wait for a message: whoever must know whether it is over would wait as long."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            messages = await self._pull(waits=not self._is_doubted)
        except BrokerError:
            self._is_doubted = True
            raise
        self._is_doubted = False
        if messages:
            self._loans.begin(message.receipt for message in messages)
        else:
            await asyncio.sleep(began + PAUSE.total_seconds() - loop.time())
        return messages

    async def delete(self, messages: Sequence[Message]) -> Deletion:
        """Of a subscription that delivers exactly once it is told which messages were not taken; of these others are
        tried again, because nobody says that they were."""
        answer = await self._call(":acknowledge", {"ackIds": [each.receipt for each in messages]})
        fates = fates_in(answer.body) if answer.status != 200 else {}
        if answer.status != 200 and not fates:
            raise self._trouble(answer, _CONSUME)
        lost = [each for each in messages if fates.get(each.receipt, True) is False]
        again = [each for each in messages if each not in lost] if fates else []
        self._loans.end(each.receipt for each in messages if each not in again)
        return Deletion(again=again, lost=lost)

    async def release(self, messages: Sequence[Message]) -> None:
        receipts = [each.receipt for each in messages]
        self._loans.end(receipts)
        await self._prolong(receipts, timedelta())

    async def has_redrive(self) -> bool:
        answer = await self._call("", None)
        if answer.status != 200:
            raise self._trouble(answer, _GET)
        try:
            return bytes(_decode_subscription(answer.body).dead_letter_policy) not in {b"null", b"{}"}
        except _UNREADABLE as exc:
            raise self._garbled() from exc

    async def close(self) -> None:
        await self._loans.close()

    async def _pull(self, *, waits: bool) -> Sequence[Message]:
        wish = {"maxMessages": BATCH, "returnImmediately": not waits}
        try:
            answer = await self._call(":pull", wish, within=self._long_poll)
        except TimeoutError:
            return ()
        if answer.status == 504:  # DEADLINE_EXCEEDED: nothing came
            return ()
        if answer.status != 200:
            raise self._trouble(answer, _CONSUME)
        try:
            return [_message(each) for each in _decode_pulled(answer.body).received_messages]
        except _UNREADABLE as exc:
            raise self._garbled() from exc

    async def _prolong(self, receipts: Sequence[str], by: timedelta) -> None:
        """For this long from now; nothing gives back."""
        wish = {"ackIds": receipts, "ackDeadlineSeconds": int(by.total_seconds())}
        answer = await self._call(":modifyAckDeadline", wish)
        if answer.status != 200 and not fates_in(answer.body):
            raise self._trouble(answer, _CONSUME)

    async def _call(self, verb: str, wish: Mapping[str, object] | None, *, within: timedelta | None = None) -> _Answer:
        """:param within: a call that may take so long, and then raises TimeoutError."""
        token = await self._bearer.token()
        try:
            answer = await self._send(verb, wish, token, within or PATIENCE)
        except TimeoutError as exc:
            if within is not None and not isinstance(exc, aiohttp.ServerTimeoutError):
                raise
            raise self._silent(exc) from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise self._silent(exc) from exc
        if answer.status == 401:
            self._bearer.distrust(token)
        return answer

    async def _send(self, verb: str, wish: Mapping[str, object] | None, token: str, within: timedelta) -> _Answer:
        async with self._http.request(
            "GET" if wish is None else "POST",
            URL(self._url + verb, encoded=True),
            data=None if wish is None else msgspec.json.encode(wish),
            headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
            allow_redirects=False,  # the token must not travel
            timeout=aiohttp.ClientTimeout(total=within.total_seconds(), sock_connect=PATIENCE.total_seconds()),
        ) as response:
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    raise aiohttp.ClientPayloadError
            return _Answer(status=response.status, body=bytes(body))

    def _trouble(self, answer: _Answer, permission: str) -> Exception:
        return understood(answer.status, source=self._source, subscription=self._subscription, permission=permission)

    def _silent(self, exc: Exception) -> SourceUnavailable:
        return SourceUnavailable(f"sources.{self._source}: no answer about {self._subscription} ({type(exc).__name__})")

    def _garbled(self) -> SourceUnavailable:
        return SourceUnavailable(
            f"sources.{self._source}: what is answered about {self._subscription} is not Pub/Sub's"
        )


def _message(received: _Received) -> Message:
    body = bytes(received.message)
    try:
        named = _decode_named(body)
    except _UNREADABLE:
        named = _Named()
    return Message(
        id=named.message_id or "unnamed",
        receipt=received.ack_id,
        body=body.decode(errors="replace"),
        sent_at=named.publish_time,
        deliveries=max(received.delivery_attempt, 1),
    )
