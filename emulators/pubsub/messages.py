"""Topics, subscriptions, and messages that are lent until somebody acknowledges them. In memory, while it lives."""

import asyncio
import base64
import binascii
import hashlib
import heapq
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

import msgspec

from emulators.faults import Faults
from emulators.google import GoogleError
from emulators.pubsub.faults import FaultSettings
from emulators.pubsub.settings import SubscriptionSpec

# Pub/Sub, "Resource limits": attributes of a message.
MAX_ATTRIBUTES: Final = 100
MAX_NAME_BYTES, MAX_VALUE_BYTES = 256, 1_024
_ACK_ID: Final = re.compile(r"[0-9a-f]{16}-[0-9]+-[0-9]+")


class PublishedMessage(msgspec.Struct, frozen=True, rename="camel"):
    """What a publisher sends (`PubsubMessage`); what the server adds is not taken from him."""

    data: str = ""
    attributes: dict[str, str] = {}
    ordering_key: str = ""

    def check(self) -> None:
        """:raises GoogleError: as `projects.topics.publish` refuses it."""
        if not self.data and not self.attributes:
            raise GoogleError("INVALID_ARGUMENT", "One or more messages in the publish request is empty.")
        try:
            base64.b64decode(self.data, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise GoogleError("INVALID_ARGUMENT", "Invalid value at 'messages.data' (TYPE_BYTES).") from exc
        if len(self.attributes) > MAX_ATTRIBUTES or not all(map(_fits, self.attributes.items())):
            raise GoogleError("INVALID_ARGUMENT", "Attributes are at most 100, of 256 bytes with 1024 bytes each.")


def _fits(attribute: tuple[str, str]) -> bool:
    name, value = attribute
    return 0 < len(name.encode()) <= MAX_NAME_BYTES and len(value.encode()) <= MAX_VALUE_BYTES


@dataclass(slots=True, kw_only=True)
class Kept:
    """A message in a subscription. `visible_at` in seconds of the loop's clock."""

    number: int
    wire: Mapping[str, Any]
    visible_at: float
    attempts: int = 0
    ack_id: str = ""


@dataclass(slots=True, kw_only=True)
class Subscription:
    """:param ack_seconds: how long a message is lent."""

    spec: SubscriptionSpec
    ack_seconds: float
    topics: "Topics"
    is_over: bool = False
    _kept: dict[int, Kept] = field(default_factory=dict)
    _order: list[tuple[float, int]] = field(default_factory=list)  # a heap; what moved on stands there twice
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def mark(self) -> str:
        """What its ack ids begin with."""
        return hashlib.sha256(self.spec.name.encode()).hexdigest()[:16]

    def backlog(self) -> Mapping[str, int]:
        now = _now()
        lent = sum(bool(kept.ack_id) and kept.visible_at > now for kept in self._kept.values())
        return {"messages": len(self._kept), "lent": lent}

    def take_in(self, kept: Kept) -> None:
        self._kept[kept.number] = kept
        self._show(kept, kept.visible_at)

    def lend(self, most: int) -> list[Kept]:
        """Those that may be seen, first come first served. One that came too often goes to the dead-letter topic."""
        lent: list[Kept] = []
        while len(lent) < most and self._next_at() <= _now():
            kept = self._kept[heapq.heappop(self._order)[1]]
            if kept.ack_id:
                self.topics.counted["expired"] += 1
            if self.spec.dead is not None and kept.attempts >= self.spec.dead.attempts:
                self._put_aside(kept, self.spec.dead.topic)
                continue
            kept.attempts += 1
            kept.ack_id = f"{self.mark}-{kept.number}-{kept.attempts}"
            lent.append(kept)
        for kept in lent:
            self._show(kept, _now() + self.ack_seconds)
        self.topics.counted["delivered"] += len(lent)
        return lent

    async def until_something(self, within: float) -> None:
        """Waits until there may be something to lend, or for so long."""
        pause = min(self._next_at() - _now(), within)
        self._news.clear()
        try:
            async with asyncio.timeout(max(pause, 0.001)):
                await self._news.wait()
        except TimeoutError:
            return

    def acknowledge(self, ack_ids: Iterable[str]) -> None:
        """One that was lent again since is not taken, and nobody says so ("At-least-once delivery")."""
        for kept in self._named(ack_ids):
            del self._kept[kept.number]
            self.topics.counted["acknowledged"] += 1

    def prolong(self, ack_ids: Iterable[str], seconds: float) -> None:
        """From now."""
        for kept in self._named(ack_ids):
            self._show(kept, _now() + seconds)
            self.topics.counted["prolonged"] += 1

    def give_back(self, ack_ids: Iterable[str], *, after: float = 0.0) -> None:
        for kept in self._named(ack_ids):
            kept.ack_id = ""
            self._show(kept, _now() + after)
            self.topics.counted["returned"] += 1

    def end(self) -> None:
        """Nothing of it is left, and whoever waits for it is told."""
        self.is_over = True
        self._kept.clear()
        self._news.set()

    def _show(self, kept: Kept, at: float) -> None:
        kept.visible_at = at
        heapq.heappush(self._order, (at, kept.number))
        self._news.set()

    def _next_at(self) -> float:
        """When the next one may be seen."""
        while self._order:
            at, number = self._order[0]
            kept = self._kept.get(number)
            if kept is not None and kept.visible_at == at:
                return at
            heapq.heappop(self._order)
        return float("inf")

    def _named(self, ack_ids: Iterable[str]) -> list[Kept]:
        """Those that are lent under these ids still."""
        wanted = dict.fromkeys(ack_ids)
        if not all(_ACK_ID.fullmatch(each) and each.startswith(self.mark) for each in wanted):
            raise GoogleError("INVALID_ARGUMENT", "You have passed an invalid ack ID to the service.")
        numbered = ((each, self._kept.get(int(each.split("-")[1]))) for each in wanted)
        return [kept for each, kept in numbered if kept is not None and kept.ack_id == each]

    def _put_aside(self, kept: Kept, topic: str) -> None:
        """With attributes that say where it comes from ("Dead-letter topics")."""
        del self._kept[kept.number]
        self.topics.counted["dead"] += 1
        more = {
            "CloudPubSubDeadLetterSourceDeliveryCount": str(kept.attempts),
            "CloudPubSubDeadLetterSourceSubscription": self.spec.name.rpartition("/")[2],
        }
        attributes = {**kept.wire.get("attributes", {}), **more}
        self.topics.publish(topic, PublishedMessage(data=kept.wire.get("data", ""), attributes=attributes))


class Topics:
    """All there is."""

    def __init__(self, faults: Faults[FaultSettings], counted: Counter[str]) -> None:
        self.faults, self.counted = faults, counted
        self.names: set[str] = set()
        self.subscriptions: dict[str, Subscription] = {}
        self._ids, self._numbers = count(1), count(1)

    def subscription(self, name: str) -> Subscription:
        """:raises GoogleError: there is none."""
        found = self.subscriptions.get(name)
        if found is None:
            raise GoogleError("NOT_FOUND", f"Resource not found (resource={name.rpartition('/')[2]}).")
        return found

    def subscribe(self, spec: SubscriptionSpec, ack_seconds: float) -> Subscription:
        """:raises GoogleError: there is one of that name, or no such topic."""
        if spec.name in self.subscriptions:
            raise GoogleError("ALREADY_EXISTS", "Resource already exists in the project.")
        for topic in (spec.topic, *((spec.dead.topic,) if spec.dead else ())):
            self.check(topic)
        made = Subscription(spec=spec, ack_seconds=ack_seconds, topics=self)
        self.subscriptions[spec.name] = made
        return made

    def unsubscribe(self, name: str) -> None:
        """What was not taken by then nobody gets."""
        self.subscriptions.pop(name).end()

    def check(self, topic: str) -> None:
        """:raises GoogleError: there is none."""
        if topic not in self.names:
            raise GoogleError("NOT_FOUND", f"Resource not found (resource={topic.rpartition('/')[2]}).")

    def publish(self, topic: str, message: PublishedMessage) -> str:
        """To every subscription; its id.

        :raises GoogleError: there is no such topic.
        """
        self.check(topic)
        message_id = str(next(self._ids))
        self.counted["published"] += 1
        if self.faults.hits("events_lost"):
            return message_id
        wire = self._wire(message_id, message)
        for _ in range(2 if self.faults.hits("events_doubled") else 1):
            at = _now() + self._delay()
            for each in self.subscriptions.values():
                if each.spec.topic == topic:
                    each.take_in(Kept(number=next(self._numbers), wire=wire, visible_at=at))
        return message_id

    def _delay(self) -> float:
        waits = self.faults.amount("reorder_seconds") if self.faults.hits("events_reordered") else 0.0
        return waits + self.faults.settings.late_seconds

    @staticmethod
    def _wire(message_id: str, message: PublishedMessage) -> Mapping[str, Any]:
        """As JSON of a protocol buffer: what is empty is left out."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        wire = {"data": message.data, "attributes": message.attributes, "orderingKey": message.ordering_key}
        wire |= {"messageId": message_id, "publishTime": moment}
        return {name: value for name, value in wire.items() if value}


def _now() -> float:
    return asyncio.get_running_loop().time()
