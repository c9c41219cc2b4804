"""What the worker tells the broker about an attempt: one table from what was raised to what is reported.

`failed` ends the job (an operator's `jobs retry` brings it back); `retry` counts as a failure and comes again;
`rejected` says that the bytes are at fault; `release` gives the job back without blame.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

from broker.contract import MAX_RESULT_BYTES, Reason
from consumer import errors
from consumer.events import describe, scrub

MAX_RETRY_SECONDS = 86_400.0  # the wire's own bound

Outcome = Literal["processed", "failed", "retry", "rejected", "release", "lost"]

OUTCOMES: dict[type[Exception], Outcome] = {
    errors.LeaseLost: "lost",
    errors.Retry: "retry",
    errors.Reject: "rejected",
    errors.ChecksumMismatch: "rejected",
    errors.LineTooLong: "rejected",
    errors.NoProcessor: "failed",
    errors.ObjectMissing: "failed",  # gone, or another one: nothing that a consumer could wait for
    errors.ObjectChanged: "failed",
    errors.ChecksumNotProvable: "failed",
    errors.TooLargeForMemory: "failed",
    errors.ResultTooLarge: "failed",
    errors.ResultNotJson: "failed",
    errors.WorkerDied: "retry",
    errors.TimedOut: "retry",
    errors.ProcessorError: "retry",
    errors.StoreTrouble: "release",
    errors.SpoolTrouble: "release",
    errors.BrokerAway: "release",
    errors.BrokerRefused: "release",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`lost` reports nothing."""

    outcome: Outcome
    result: bytes = b"null"
    reason: Reason | None = None
    retry_after_seconds: float | None = None


def processed(result: object) -> Verdict:
    """
    :raises ResultNotJson, ResultTooLarge:
    """
    try:
        encoded = msgspec.json.encode(result)
    except (TypeError, ValueError, RecursionError) as exc:
        raise errors.ResultNotJson from exc
    if len(encoded) > MAX_RESULT_BYTES:
        raise errors.ResultTooLarge(f"the result has {len(encoded)} bytes, {MAX_RESULT_BYTES} permitted")
    return Verdict(outcome="processed", result=encoded)


def verdict_of(exc: Exception) -> Verdict:
    """What an attempt that ended with `exc` comes to."""
    outcome = next((OUTCOMES[kind] for kind in type(exc).__mro__ if kind in OUTCOMES), None)
    if outcome is None or not isinstance(exc, errors.ConsumerError):
        return Verdict(outcome="retry", reason=Reason(code="processor-error", message=describe(exc)))
    code = exc.reason_code if isinstance(exc, errors.Reject) else exc.code
    after = exc.after_seconds if isinstance(exc, errors.Retry) else None
    return Verdict(
        outcome=outcome,
        reason=Reason(code=code, message=scrub(exc.detail)),
        retry_after_seconds=None if after is None else min(max(after, 0.0), MAX_RETRY_SECONDS),
    )
