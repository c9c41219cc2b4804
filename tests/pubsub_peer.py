"""A Pub/Sub on loopback, ours or Google's own emulator: what tests make there, publish and count."""

import base64
import json
import urllib.request
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

PROJECT = "projects/acme"
SECONDS = 20


class PubsubPeer:
    """What the server at `url` holds. Names are fresh: one server serves many tests.

    :param token: of whoever may do anything.
    """

    def __init__(self, url: str, token: str = "") -> None:
        self.url, self._token = url, token

    def call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return json.load(answer)

    def topic(self) -> str:
        name = f"{PROJECT}/topics/t{uuid4().hex}"
        self.call("PUT", f"v1/{name}", {})
        return name

    def subscription(self, topic: str, *, name: str = "", ack_seconds: int = 10, dead: str = "", **more: object) -> str:
        """:param dead: the topic for what came five times in vain."""
        name = name or f"{PROJECT}/subscriptions/s{uuid4().hex}"
        wish: dict[str, object] = {"topic": topic, "ackDeadlineSeconds": ack_seconds, **more}
        if dead:
            wish["deadLetterPolicy"] = {"deadLetterTopic": dead, "maxDeliveryAttempts": 5}
        self.call("PUT", f"v1/{name}", wish)
        return name

    def publish(self, topic: str, *messages: Mapping[str, Any]) -> None:
        """As Cloud Storage does; what the server itself adds to a message is left out."""
        told = [{name: each[name] for name in ("data", "attributes") if each.get(name)} for each in messages]
        self.call("POST", f"v1/{topic}:publish", {"messages": told})

    def send(self, topic: str, text: str) -> None:
        self.publish(topic, {"data": base64.b64encode(text.encode()).decode()})

    def delete(self, subscription: str) -> None:
        self.call("DELETE", f"v1/{subscription}")

    def counters(self) -> Any:
        return self.call("GET", "_emulator/counters")

    def count(self, subscription: str) -> int:
        """Messages that are there, lent or not; of our emulator alone."""
        return self.backlog(subscription)["messages"]

    def backlog(self, subscription: str) -> dict[str, int]:
        """`messages`, of which some are `lent`; of our emulator alone."""
        return dict(self.counters()["backlog"][subscription])


class SteadyBearer:
    """A token that is always good, where nobody looks."""

    async def token(self) -> str:
        return "anybody"

    def distrust(self, token: str) -> None:
        raise AssertionError(f"{token} was not taken")


def text_of(body: str) -> str:
    """What was sent, of a `PubsubMessage`."""
    return base64.b64decode(json.loads(body)["data"]).decode()
