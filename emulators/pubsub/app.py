"""Pub/Sub's REST API, v1: topics (create, get, publish), subscriptions (create, get, pull, acknowledge,
modifyAckDeadline, delete). What it does not have is refused, never taken for something else.
"""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import msgspec
from aiohttp import web

from emulators.control import PREFIX, control, json_answer
from emulators.faults import Faults
from emulators.google import GoogleError, decoded, refusal
from emulators.pubsub.faults import FaultSettings
from emulators.pubsub.iam import Iam
from emulators.pubsub.messages import Kept, PublishedMessage, Subscription, Topics
from emulators.pubsub.settings import DeadLetter, Push, Settings, SubscriptionSpec, subscription_name, topic_name
from emulators.refusing import Disconnect, hang_up, refuse

log = logging.getLogger(__name__)

T = TypeVar("T")
_PATH: Final = re.compile(r"/v1/(projects/[^/]+/(topics|subscriptions)/[^/:]+)(?::([A-Za-z]+))?")
MAX_BODY_BYTES: Final = 14 * 2**20  # "Quotas and limits", publish request: 10 MB, here in base64
MAX_ACK_SECONDS: Final = 600


class _Publish(msgspec.Struct, frozen=True):
    messages: list[PublishedMessage]


class _Pull(msgspec.Struct, frozen=True, rename="camel"):
    max_messages: int
    return_immediately: bool = False


class _Acknowledge(msgspec.Struct, frozen=True, rename="camel"):
    ack_ids: list[str]


class _Modify(msgspec.Struct, frozen=True, rename="camel"):
    ack_ids: list[str]
    ack_deadline_seconds: int = 0


class _OidcToken(msgspec.Struct, frozen=True, rename="camel"):
    service_account_email: str
    audience: str = ""


class _PushConfig(msgspec.Struct, frozen=True, rename="camel"):
    push_endpoint: str = ""
    oidc_token: _OidcToken | None = None


class _DeadLetterPolicy(msgspec.Struct, frozen=True, rename="camel"):
    dead_letter_topic: str
    max_delivery_attempts: int = 5


class _Create(msgspec.Struct, frozen=True, rename="camel"):
    topic: str
    ack_deadline_seconds: int = 10
    push_config: _PushConfig | None = None
    dead_letter_policy: _DeadLetterPolicy | None = None


class App:
    """The handler of one process.

    :param push: starts to push a new subscription's messages.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Topics,
        iam: Iam,
        faults: Faults[FaultSettings],
        push: Callable[[Subscription], None],
    ) -> None:
        self._settings, self._topics, self._iam, self._faults, self._push = settings, topics, iam, faults, push
        self._requests: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        try:
            if http.path.startswith(PREFIX):
                return await control(http, self._faults, FaultSettings, self._counters)
            answer = await self._answer(http)
            if self._faults.hits("response_lost"):
                raise Disconnect
            return json_answer(answer)
        except GoogleError as exc:
            return await self._refuse(http, exc)
        except Disconnect as exc:
            return hang_up(http, exc)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("event=request.failed")
            return await self._refuse(http, GoogleError("INTERNAL", "The emulator stumbled."))

    async def _refuse(self, http: web.BaseRequest, error: GoogleError) -> web.StreamResponse:
        self._refused[error.status] += 1
        log.info("event=request.refused status=%s", error.status)
        return await refuse(http, refusal(error))

    def _counters(self) -> Mapping[str, Any]:
        counts = ("published", "delivered", "acknowledged", "returned", "prolonged", "expired", "dead", "pushed")
        return {
            "requests": self._requests,
            "refused": self._refused,
            "messages": dict.fromkeys((*counts, "push_failed"), 0) | self._topics.counted,
            "backlog": {name: each.backlog() for name, each in self._topics.subscriptions.items()},
        }

    async def _answer(self, http: web.BaseRequest) -> object:
        found = _PATH.fullmatch(http.raw_path.partition("?")[0])
        if found is None:
            raise GoogleError("NOT_FOUND", "There is no such method here.")
        name, kind, verb = unquote(found[1]), found[2], found[3] or http.method
        self._requests[f"{kind}.{verb}"] += 1
        if self._faults.hits("unavailable"):
            raise GoogleError("UNAVAILABLE", "The service was unable to fulfill your request. Please try again.")
        if found[3] and http.method != "POST":
            raise _unimplemented(f"{verb} is asked for by POST.")
        return await (self._topic(http, name, verb) if kind == "topics" else self._subscription(http, name, verb))

    async def _topic(self, http: web.BaseRequest, name: str, verb: str) -> object:
        match verb:
            case "publish":
                messages = (await _body(http, _Publish)).messages
                self._topics.check(name)
                for message in messages:
                    message.check()
                return {"messageIds": [self._topics.publish(name, message) for message in messages]}
            case "GET":
                self._topics.check(name)
            case "PUT":
                if _named(topic_name, name) in self._topics.names:
                    raise GoogleError("ALREADY_EXISTS", "Resource already exists in the project.")
                self._topics.names.add(name)
            case _:
                raise _unimplemented(f"Topics know no {verb} here.")
        return {"name": name}

    async def _subscription(self, http: web.BaseRequest, name: str, verb: str) -> object:
        if verb == "PUT":
            await self._iam.check(http, "")
            return _described(self._subscribe(_named(subscription_name, name), await _body(http, _Create)))
        known = self._topics.subscriptions.get(name)
        await self._iam.check(http, known.spec.consumer if known else "")
        subscription = self._topics.subscription(name)
        match verb:
            case "GET":
                return _described(subscription)
            case "DELETE":
                self._topics.unsubscribe(name)
            case "pull":
                return await self._pull(http, subscription, await _body(http, _Pull))
            case "acknowledge":
                subscription.acknowledge((await _body(http, _Acknowledge)).ack_ids)
            case "modifyAckDeadline":
                wish = await _body(http, _Modify)
                if not 0 <= wish.ack_deadline_seconds <= MAX_ACK_SECONDS:
                    raise GoogleError("INVALID_ARGUMENT", "Invalid ack deadline given: 0 to 600 seconds.")
                if wish.ack_deadline_seconds:
                    subscription.prolong(wish.ack_ids, wish.ack_deadline_seconds)
                else:
                    subscription.give_back(wish.ack_ids)
            case _:
                raise _unimplemented(f"Subscriptions know no {verb} here.")
        return {}

    def _subscribe(self, name: str, wish: _Create) -> Subscription:
        config, policy = wish.push_config or _PushConfig(), wish.dead_letter_policy
        token = config.oidc_token or _OidcToken("")
        push = Push(
            url=config.push_endpoint,
            audience=token.audience or config.push_endpoint,
            email=token.service_account_email,
        )
        spec = SubscriptionSpec(
            name=name,
            topic=wish.topic,
            push=push if push.url else None,
            dead=DeadLetter(topic=policy.dead_letter_topic, attempts=policy.max_delivery_attempts) if policy else None,
        )
        made = self._topics.subscribe(spec, wish.ack_deadline_seconds or self._settings.ack_seconds)
        self._push(made)
        return made

    async def _pull(self, http: web.BaseRequest, subscription: Subscription, wish: _Pull) -> object:
        """Nothing is lent to somebody who has gone: what he would get, the next one gets."""
        if wish.max_messages < 1:
            raise GoogleError("INVALID_ARGUMENT", "The value for max_messages must be greater than 0.")
        if subscription.spec.push is not None:
            raise GoogleError("FAILED_PRECONDITION", "The operation is not allowed on a push subscription.")
        loop = asyncio.get_running_loop()
        until = loop.time() + (0.0 if wish.return_immediately else self._settings.wait_seconds)
        while not (lent := subscription.lend(wish.max_messages)) and loop.time() < until:
            await subscription.until_something(until - loop.time())
            if subscription.is_over:
                raise GoogleError("NOT_FOUND", "The subscription was deleted.")
            if http.transport is None or http.transport.is_closing():
                raise Disconnect
        return {"receivedMessages": [_received(kept, subscription) for kept in lent]} if lent else {}


def _received(kept: Kept, subscription: Subscription) -> Mapping[str, object]:
    counted = {} if subscription.spec.dead is None else {"deliveryAttempt": kept.attempts}
    return {"ackId": kept.ack_id, "message": kept.wire, **counted}


def _described(subscription: Subscription) -> Mapping[str, object]:
    spec = subscription.spec
    told: dict[str, object] = {
        "name": spec.name,
        "topic": spec.topic,
        "pushConfig": {},
        "ackDeadlineSeconds": int(subscription.ack_seconds),
        "state": "ACTIVE",
    }
    if spec.push is not None:
        told["pushConfig"] = {"pushEndpoint": spec.push.url}
    if spec.dead is not None:
        told["deadLetterPolicy"] = {"deadLetterTopic": spec.dead.topic, "maxDeliveryAttempts": spec.dead.attempts}
    return told


def _unimplemented(message: str) -> GoogleError:
    return GoogleError("UNIMPLEMENTED", message, code=501)


def _named(read: Callable[[str], str], name: str) -> str:
    try:
        return read(name)
    except ValueError as exc:
        raise GoogleError("INVALID_ARGUMENT", f"{exc}.") from exc


async def _body(http: web.BaseRequest, kind: type[T]) -> T:
    body = bytearray()
    while data := await http.content.readany():
        body += data
        if len(body) > MAX_BODY_BYTES:
            raise GoogleError("INVALID_ARGUMENT", "Request payload size exceeds the limit: 10485760 bytes.")
    return decoded(bytes(body), kind)
