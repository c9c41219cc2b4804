"""What an operation is made of, and the words and problems that many share."""

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from msgspec import Struct

from broker.api.auth import Access
from broker.domain import errors
from broker.domain.errors import BrokerError

C = TypeVar("C")

TEXT = "text/plain"
EVENT_STREAM = "text/event-stream"
BODY_PROBLEMS = (
    errors.NotJson,
    errors.MalformedRequest,
    errors.BodyTooLarge,
    errors.BodyTypeUnsupported,
    errors.InvalidInput,
)
SIGNING_PROBLEMS = (errors.CredentialsUnavailable, errors.SigningQuotaExhausted)
STORE_PROBLEMS = (errors.StoreUnavailable, errors.StoreRefused, *SIGNING_PROBLEMS)
GRANT_PROBLEMS = (
    errors.SessionSettled,
    errors.CompletionInProgress,
    errors.IdempotencyInFlight,
    errors.Overloaded,
    *STORE_PROBLEMS,
)
RETRY_AFTER = "Retry-After"
REPLAYED = "Idempotency-Replayed"
LOCATION = "Location"
LAST_EVENT_ID = "Last-Event-ID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a request carries. An optional one may be left out whole."""

    kind: type[Struct] | None = None  # None: any bytes
    is_required: bool = True
    example: Struct | dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer that is not a problem. Of an event stream `kind` is the `data` of each event."""

    status: int
    text: str
    kind: type[Struct] | None = None
    media_type: str = "application/json"
    headers: tuple[str, ...] = ()
    example: Struct | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A header or a query parameter; those in the path are in the path."""

    name: str
    place: Literal["header", "query"]
    text: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[C]):
    """One method of one path. `access` decides who may call, and what the handler is given to know it by."""

    id: str
    method: Literal["GET", "POST", "DELETE"]
    path: str
    tag: str
    summary: str
    access: Access[C]
    replies: tuple[Reply, ...]
    text: str = ""
    body: Body | None = None
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[type[BrokerError], ...] = ()
