"""What webhooks are told, as data for the OpenAPI. Nothing of it is mounted here: receivers mount it."""

from dataclasses import dataclass
from typing import Any, get_args

import msgspec
from msgspec import UNSET

from broker.api import examples
from broker.contract import Reason, State, UploadSession, WebhookEvent, WebhookSession, WebhookType

Json = dict[str, Any]

ABOUT = """\
What the receivers of `[webhooks.NAME]` are told, signed after Standard Webhooks (https://www.standardwebhooks.com):
verify with its libraries and the secret of the configuration, and refuse what is older than five minutes. Told at least
once and, of one session, in order; an event that is told again has the same `webhook-id`. Answer 2xx within 15 seconds
(`timeout`). Anything else, a redirect too, is tried again for 24 hours. 410 stops all calls for an hour, 429 and 503
for as long as `Retry-After` says, an hour at most.
"""

_HEADERS: dict[str, tuple[str, Json]] = {
    "webhook-id": (
        "Names the event; the same for every attempt.",
        {"type": "string", "pattern": "^evt_[0-9a-f]{2}[a-z2-7]{26}_[0-9]+_[0-9]+$"},
    ),
    "webhook-timestamp": (
        "When this attempt was made, in unix seconds.",
        {"type": "string", "pattern": "^[0-9]+$"},
    ),
    "webhook-signature": (
        "One `v1,` and base64 of HMAC-SHA256 over id, timestamp and body, joined by dots, for each secret.",
        {"type": "string", "pattern": "^v1,[A-Za-z0-9+/]{43}=( v1,[A-Za-z0-9+/]{43}=)*$"},
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    type: WebhookType
    summary: str
    example: WebhookEvent


def _event(kind: WebhookType, session: UploadSession, reason: Reason | None = None) -> WebhookEvent:
    state = State(kind.partition(".")[2])
    step = session.timeline[-1] if session.timeline else None
    names = set(WebhookSession.__struct_fields__) - {"state", "epoch", "reason"}
    data = WebhookSession(
        state=state,
        epoch=step.epoch if step else 0,
        reason=reason or UNSET,
        **{name: getattr(session, name) for name in names},
    )
    return WebhookEvent(type=kind, timestamp=step.at if step else session.expires_at, data=data)


_REJECTED = Reason(code="size-mismatch", message="declared 10485760 bytes, stored 10485761")
_EXPIRED = Reason(code="deadline", message="nothing arrived in time")
_FAILED = Reason(code="failed", message="the consumer gave no reason")
_WITHOUT_RESULT = msgspec.structs.replace(examples.PROCESSED_SESSION, result=UNSET)

TOLD = (
    Told(
        type="session.verified",
        summary="The bytes arrived and are what was declared",
        example=_event("session.verified", examples.VERIFIED_SESSION),
    ),
    Told(
        type="session.rejected",
        summary="What arrived is not what was declared, or not acceptable to its consumer",
        example=_event("session.rejected", examples.VERIFIED_SESSION, _REJECTED),
    ),
    Told(
        type="session.expired",
        summary="Nothing arrived in time; bytes that come late may still be verified",
        example=_event("session.expired", examples.PENDING_SESSION, _EXPIRED),
    ),
    Told(
        type="session.processed",
        summary="A consumer reported its result",
        example=_event("session.processed", examples.PROCESSED_SESSION),
    ),
    Told(
        type="session.failed",
        summary="A consumer failed for good; an operator may have it tried again",
        example=_event("session.failed", _WITHOUT_RESULT, _FAILED),
    ),
)
assert tuple(told.type for told in TOLD) == get_args(WebhookType)  # noqa: S101 - said once, in the contract


def webhooks() -> Json:
    """The section `webhooks` of the document."""
    return {told.type: {"post": _operation(told)} for told in TOLD}


def _operation(told: Told) -> Json:
    schema = {"allOf": [{"$ref": "#/components/schemas/WebhookEvent"}, {"properties": {"type": {"const": told.type}}}]}
    example = msgspec.json.decode(msgspec.json.encode(told.example))
    return {
        "operationId": "told" + told.type.partition(".")[2].capitalize(),
        "summary": told.summary,
        "tags": ["webhooks"],
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": text, "schema": header}
            for name, (text, header) in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}},
        "responses": {
            "2XX": {"description": "Heard. A body is not read."},
            "410": {"description": "No longer interested: nothing is sent for an hour."},
            "default": {"description": "Told again later."},
        },
    }
