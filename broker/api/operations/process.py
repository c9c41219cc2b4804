"""What stores tell a process, and what it says of itself."""

from broker.api import examples
from broker.api.auth import Everyone, KeyOf
from broker.api.operations.shape import RETRY_AFTER, TEXT, Body, Operation, Reply
from broker.contract import (
    About,
    NotificationReceipt,
    Readiness,
)
from broker.domain import errors
from broker.domain.principals import ApiKey, Role

NOTIFY: Operation[None] = Operation(
    id="notify",
    method="POST",
    path="/notifications/{source}",
    tag="notifications",
    summary="Events of a bucket",
    text="Its door authenticates the sender: by a token (`s3_event`, `eventbridge`), by the signature of SNS (`sns`), "
    "whose subscriptions it confirms, or by an ID token that Google signed (`pubsub_push`). The body is a message of "
    "S3's structure, the same in an SNS envelope, an event of EventBridge, or a message of Pub/Sub with the attributes "
    "of Cloud Storage. What is authentic and cannot be read, or is about something else, is counted and answered with "
    "200.",
    access=Everyone(),
    body=Body(example=examples.S3_EVENT),
    replies=(Reply(status=200, text="Recorded", kind=NotificationReceipt, example=examples.RECEIPT),),
    problems=(
        errors.MalformedRequest,
        errors.BodyTooLarge,
        errors.SourceNotFound,
        errors.NotAuthentic,
        errors.SenderUnavailable,
        errors.LedgerUnavailable,
    ),
)

LIVE: Operation[None] = Operation(
    id="live",
    method="GET",
    path="/healthz",
    tag="health",
    summary="Whether the process answers",
    access=Everyone(),
    replies=(Reply(status=200, text="It does", media_type=TEXT, example="ok\n"),),
)

READY: Operation[None] = Operation(
    id="ready",
    method="GET",
    path="/readyz",
    tag="health",
    summary="Whether the broker can work, and what is wrong",
    access=Everyone(),
    replies=(
        Reply(status=200, text="Ready", kind=Readiness, example=examples.READY),
        Reply(status=503, text="Not ready", kind=Readiness, headers=(RETRY_AFTER,), example=examples.NOT_READY),
    ),
)

ABOUT: Operation[None] = Operation(
    id="about",
    method="GET",
    path="/",
    tag="health",
    summary="Version and limits",
    access=Everyone(),
    replies=(Reply(status=200, text="Version and limits", kind=About, example=examples.ABOUT),),
)

METRICS: Operation[ApiKey] = Operation(
    id="metrics",
    method="GET",
    path="/metrics",
    tag="health",
    summary="What Prometheus scrapes",
    text="The text format 0.0.4; OpenMetrics 1.0.0 where `Accept` names it. A key that stands in the configuration is "
    "known while the ledger is away, too.",
    access=KeyOf(Role.OBSERVE),
    replies=(Reply(status=200, text="The metrics of this process", media_type=TEXT, example=examples.METRICS),),
)
