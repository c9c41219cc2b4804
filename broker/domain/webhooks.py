"""What webhooks are told, how it is signed, and when it is tried again.

Spec: Standard Webhooks 1.0, https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hmac
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Literal, TypeVar, get_args

import msgspec
from msgspec import UNSET, Struct, UnsetType

from broker.contract import (
    Checksum,
    ObjectRef,
    Reason,
    State,
    WebhookCopy,
    WebhookEvent,
    WebhookSession,
    WebhookType,
)
from broker.domain.copies import Copy
from broker.domain.errors import ConfigurationInvalid
from broker.domain.fan_out import destinations_of
from broker.domain.sessions import Session

T = TypeVar("T")

ANY = "*"
ALL_TYPES: tuple[WebhookType, ...] = get_args(WebhookType)
_BY_STATE: dict[str, WebhookType] = {name.partition(".")[2]: name for name in ALL_TYPES}

SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64  # spec, "Signature scheme": 192 bits, 512 maximum

GIVEN_UP_AFTER = timedelta(hours=24)  # ours
_DELAYS = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400)  # seconds; ours, the last one again and again
_JITTER = 0.2  # ours: failures of one moment do not come back together
LONGEST_PAUSE = timedelta(hours=1)  # ours: an endpoint cannot ask to be forgotten for a day
_THROTTLED = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)

_NO_CHECKSUM = Checksum()

Outcome = Literal["delivered", "failed", "given-up", "dropped"]


class Attempt(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the delivery log. `error` is a class of trouble, never an answer's text."""

    at: datetime
    webhook_id: str
    session_id: str
    cursor: str
    type: str
    attempt: int
    outcome: Outcome
    status: int | None = None
    error: str | None = None
    duration_ms: int = 0


class Webhook(Struct, frozen=True, kw_only=True):
    """One configured receiver: what it wants to be told, and the keys by which it knows us."""

    name: str
    keys: tuple[bytes, ...]
    types: frozenset[str] = frozenset(ALL_TYPES)
    destinations: tuple[str, ...] = (ANY,)
    principals: tuple[str, ...] = (ANY,)

    def __repr__(self) -> str:
        return f"Webhook(name={self.name!r})"

    @property
    def is_choosy(self) -> bool:
        """Whether one must know the session to know if it wants to hear of it."""
        return ANY not in self.destinations or ANY not in self.principals

    def wants(self, session: Session) -> bool:
        is_there = any(_is_among(name, self.destinations) for name in destinations_of(session))
        return is_there and _is_among(session.facts.principal, self.principals)


def type_of(state: State, epoch: int) -> WebhookType | None:
    """What an event is told as, or None. Every lease raises the epoch: verified again after one is no news."""
    return None if state is State.VERIFIED and epoch else _BY_STATE.get(state.value)


def message_id(session_id: str, cursor: str) -> str:
    """The same for every attempt and replay of one event, so that a receiver can tell what it has seen."""
    return f"evt_{session_id}_{cursor.replace('-', '_')}"


def payload(session: Session, *, state: State, epoch: int, at: datetime, reason: Reason | None) -> bytes:
    """The event as it was, although the session may have moved on since."""
    facts, spec = session.facts, session.facts.spec
    data = WebhookSession(
        id=session.id,
        state=state,
        epoch=epoch,
        created_at=facts.created_at,
        object=ObjectRef(destination=facts.destination, bucket=facts.bucket, key=facts.key),
        filename=spec.filename,
        size_bytes=spec.size_bytes,
        content_type=spec.content_type,
        checksum=UNSET if spec.checksum == _NO_CHECKSUM else spec.checksum,
        metadata=facts.metadata or UNSET,
        owner=_or_unset(facts.owner),
        batch=_or_unset(facts.batch),
        stored=UNSET if state is State.EXPIRED else _or_unset(facts.stored),
        reason=_or_unset(reason),
        result=msgspec.Raw(facts.result) if state is State.PROCESSED and facts.result else UNSET,
        copies=[_copy(copy) for copy in facts.copies] if facts.copies else UNSET,
    )
    return msgspec.json.encode(WebhookEvent(type=_BY_STATE[state.value], timestamp=at, data=data))


def _copy(copy: Copy) -> WebhookCopy:
    ref = ObjectRef(destination=copy.destination, bucket=copy.bucket, key=copy.key)
    return WebhookCopy(destination=copy.destination, state=copy.state, object=ref)


def key_in(secret: str) -> bytes:
    """The key that a serialized secret holds.

    :raises ConfigurationInvalid: it is no `whsec_` secret of this spec. The text does not quote it.
    """
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise ConfigurationInvalid(
            f"a webhook secret is {SECRET_PREFIX} and the base64 of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes: "
            f'`echo "{SECRET_PREFIX}$(openssl rand -base64 32)"`'
        )
    return key


def headers_of(keys: tuple[bytes, ...], webhook_id: str, body: bytes, now: datetime) -> dict[str, str]:
    """What a receiver verifies: one signature a key, so that keys can be rotated; the moment is this attempt's."""
    moment = str(int(now.timestamp()))
    signed = f"{webhook_id}.{moment}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)
    return {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": moment,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def again_at(attempt: int, *, since: datetime, now: datetime, dice: float, pause: timedelta | None) -> datetime | None:
    """When to try again after the `attempt`-th failure; None gives up. The last attempt falls on the end itself.

    :param dice: from 0 to 1, spreads what failed together.
    :param pause: at least that long, because the endpoint said so.
    """
    end = since + GIVEN_UP_AFTER
    if now >= end:
        return None
    delay = timedelta(seconds=_DELAYS[min(attempt, len(_DELAYS)) - 1] * (1 - _JITTER + 2 * _JITTER * dice))
    return min(now + max(delay, pause or delay), end)


def pause_of(status: int | None, retry_after: timedelta | None) -> timedelta | None:
    """For how long a whole endpoint is left alone. Gone is believed for an hour at a time: it may be mended."""
    if status == HTTPStatus.GONE:
        return LONGEST_PAUSE
    if status in _THROTTLED and retry_after:
        return min(retry_after, LONGEST_PAUSE)
    return None


def is_delivered(status: int | None) -> bool:
    return status is not None and HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _is_among(name: str, names: tuple[str, ...]) -> bool:
    return ANY in names or name in names


def _or_unset(value: T | None) -> T | UnsetType:
    return UNSET if value is None else value
