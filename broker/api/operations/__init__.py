"""Every route of the broker, as data: what `mount` serves and what the OpenAPI says are this one table."""

from typing import Any

from broker.api.operations.jobs import LEASE, RELEASE, RENEW, RESULT
from broker.api.operations.process import ABOUT, LIVE, METRICS, NOTIFY, READY
from broker.api.operations.reading import CONTENT, EVENTS, GET_SESSION, LISTING, STATUSES
from broker.api.operations.shape import (
    EVENT_STREAM,
    LAST_EVENT_ID,
    LOCATION,
    REPLAYED,
    RETRY_AFTER,
    Body,
    Operation,
    Parameter,
    Reply,
)
from broker.api.operations.uploads import ABORT, BATCH, COMPLETE, COMPLETE_MANY, CREATE, ERASE, PARTS, REMINT

OPERATIONS: tuple[Operation[Any], ...] = (
    CREATE,
    BATCH,
    STATUSES,
    COMPLETE_MANY,
    LISTING,
    GET_SESSION,
    REMINT,
    PARTS,
    COMPLETE,
    ABORT,
    ERASE,
    CONTENT,
    EVENTS,
    LEASE,
    RENEW,
    RESULT,
    RELEASE,
    NOTIFY,
    LIVE,
    READY,
    ABOUT,
    METRICS,
)

__all__ = [
    "ABORT",
    "ABOUT",
    "BATCH",
    "COMPLETE",
    "COMPLETE_MANY",
    "CONTENT",
    "CREATE",
    "ERASE",
    "EVENTS",
    "EVENT_STREAM",
    "GET_SESSION",
    "LAST_EVENT_ID",
    "LEASE",
    "LISTING",
    "LIVE",
    "LOCATION",
    "METRICS",
    "NOTIFY",
    "OPERATIONS",
    "PARTS",
    "READY",
    "RELEASE",
    "REMINT",
    "RENEW",
    "REPLAYED",
    "RESULT",
    "RETRY_AFTER",
    "STATUSES",
    "Body",
    "Operation",
    "Parameter",
    "Reply",
]
