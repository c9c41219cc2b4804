"""What one process is told at start-up, parsed once."""

import re
from dataclasses import dataclass
from typing import Final, Self

_ID: Final = r"[A-Za-z][A-Za-z0-9._~+%-]{2,254}"  # Pub/Sub, "Resource names"
_TOPIC: Final = re.compile(rf"projects/[a-z0-9.:-]+/topics/{_ID}")
_SUBSCRIPTION: Final = re.compile(rf"projects/[a-z0-9.:-]+/subscriptions/{_ID}")
_FIELDS: Final = {"push", "audience", "email", "dead", "attempts", "consumer"}


def topic_name(text: str) -> str:
    """:raises ValueError: it is none."""
    if not _TOPIC.fullmatch(text):
        raise ValueError("A topic is projects/PROJECT/topics/NAME")
    return text


def subscription_name(text: str) -> str:
    """:raises ValueError: it is none."""
    if not _SUBSCRIPTION.fullmatch(text):
        raise ValueError("A subscription is projects/PROJECT/subscriptions/NAME")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """Where messages are posted, and by whose token for whom; without an e-mail address by none."""

    url: str
    audience: str
    email: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Where a message goes that was delivered so often in vain."""

    topic: str
    attempts: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionSpec:
    """:param consumer: the only account that may pull; empty: any whose token is good."""

    name: str
    topic: str
    push: Push | None = None
    dead: DeadLetter | None = None
    consumer: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `NAME=TOPIC[,push=URL[,audience=A][,email=E]][,dead=TOPIC[,attempts=N]][,consumer=EMAIL]`.

        :raises ValueError: it is none.
        """
        named, *more = text.split(",")
        name, _, topic = named.partition("=")
        fields = dict(field.partition("=")[::2] for field in more)
        if not set(fields) <= _FIELDS or not all(fields.values()):
            raise ValueError(f"Known are {', '.join(sorted(_FIELDS))}")
        url, dead = fields.get("push"), fields.get("dead")
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("push is an http(s) URL")
        return cls(
            name=subscription_name(name),
            topic=topic_name(topic),
            # Pub/Sub, `PushConfig.OidcToken`: the audience is the endpoint's URL if none is named.
            push=Push(url=url, audience=fields.get("audience", url), email=fields.get("email", "")) if url else None,
            dead=DeadLetter(topic=topic_name(dead), attempts=int(fields.get("attempts", "5"))) if dead else None,
            consumer=fields.get("consumer", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that does not change while the process lives.

    :param iam: where tokens are looked up and made; without it everybody may do everything, and pushes bear none.
    :param ack_seconds: how long a message is lent.
    :param wait_seconds: how long a pull waits for a message.
    """

    topics: tuple[str, ...] = ()
    subscriptions: tuple[SubscriptionSpec, ...] = ()
    iam: str | None = None
    ack_seconds: float = 10.0
    wait_seconds: float = 90.0
