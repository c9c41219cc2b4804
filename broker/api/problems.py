"""The only place with status codes: each error class has a row, each refusal leaves as RFC 9457 problem details."""

import logging
from math import ceil
from typing import Any, NamedTuple

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.response import Response
from litestar.types import ASGIApp

from broker.api.answers import Answer, Headers, request_id
from broker.contract import Problem
from broker.domain import errors
from broker.domain.errors import BrokerError

_log = logging.getLogger("broker.api")

PROBLEM_JSON = b"application/problem+json"


class Row(NamedTuple):
    status: int
    title: str


ROWS: dict[type[BrokerError], Row] = {
    errors.BrokerError: Row(500, "The broker failed"),
    errors.InvalidInput: Row(422, "The request is not valid"),
    errors.NotJson: Row(400, "The body is not JSON"),
    errors.MalformedRequest: Row(400, "The request is malformed"),
    errors.BodyTooLarge: Row(413, "The body is too large"),
    errors.BodyTypeUnsupported: Row(415, "The body is of an unsupported type"),
    errors.SizeTooLarge: Row(422, "The object is too large"),
    errors.ContentTypeNotAllowed: Row(422, "The content type is not allowed"),
    errors.ChecksumInvalid: Row(422, "The checksum is not valid"),
    errors.ChecksumNotProvable: Row(422, "The checksum cannot be proved"),
    errors.MetadataTooLarge: Row(422, "The metadata is too large"),
    errors.MetadataInvalid: Row(422, "The metadata is not valid"),
    errors.StrategyTooWeak: Row(422, "The strategy is too weak"),
    errors.UnknownDestination: Row(422, "The destination is unknown"),
    errors.IdempotencyKeyInvalid: Row(422, "The idempotency key is not valid"),
    errors.IdempotencyKeyReused: Row(422, "The idempotency key was used before"),
    errors.ResultTooLarge: Row(422, "The result is too large"),
    errors.OriginNotAllowed: Row(422, "The origin is not allowed"),
    errors.Refused: Row(403, "Refused"),
    errors.Unauthenticated: Row(401, "Not authenticated"),
    errors.Forbidden: Row(403, "Not permitted"),
    errors.NotAuthentic: Row(401, "The notification is not authentic"),
    errors.Missing: Row(404, "Not found"),
    errors.RouteNotFound: Row(404, "No such route"),
    errors.MethodNotAllowed: Row(405, "Method not allowed"),
    errors.SessionNotFound: Row(404, "No such upload session"),
    errors.ObjectErased: Row(410, "The object was erased"),
    errors.SourceNotFound: Row(404, "No such notification source"),
    errors.Conflict: Row(409, "Conflict"),
    errors.SessionSettled: Row(409, "The session is settled"),
    errors.SessionNotVerified: Row(409, "The session is not verified"),
    errors.LeaseLost: Row(409, "The lease is lost"),
    errors.ObjectGone: Row(409, "The object is gone"),
    errors.PinNotInUrl: Row(409, "A redirect cannot pin the object"),
    errors.CompletionInProgress: Row(409, "The parts are being put together"),
    errors.NotMultipart: Row(409, "The session is not uploaded in parts"),
    errors.IdempotencyInFlight: Row(409, "The first request has not finished"),
    errors.Limited: Row(429, "Limited"),
    errors.RateLimited: Row(429, "Too many requests"),
    errors.QuotaExceeded: Row(429, "The quota is used up"),
    errors.Unavailable: Row(503, "Unavailable"),
    errors.LedgerUnavailable: Row(503, "The ledger is unavailable"),
    errors.StoreUnavailable: Row(503, "The store is unavailable"),
    errors.StoreRefused: Row(503, "The store refuses the broker"),
    errors.SenderUnavailable: Row(503, "The notification cannot be proved now"),
    errors.CredentialsUnavailable: Row(503, "The credentials are unavailable"),
    errors.SigningQuotaExhausted: Row(429, "The signing quota is used up"),
    errors.SourceUnavailable: Row(503, "The source is unavailable"),
    errors.SourceRefused: Row(503, "The source refuses the broker"),
    errors.Overloaded: Row(503, "Overloaded"),
    errors.ConfigurationInvalid: Row(500, "The configuration is not valid"),
    errors.StoreMismatch: Row(500, "The ledger and the bucket do not match"),
}

# RFC 9110 section 11.6.1: a 401 names a scheme. SNS sends its credentials only after a challenge for Basic.
CHALLENGED: dict[type[BrokerError], bytes] = {
    errors.Unauthenticated: b'Bearer realm="upload-broker"',
    errors.NotAuthentic: b'Basic realm="notifications", Bearer realm="notifications"',
}

_encode = msgspec.json.Encoder().encode


def problem(error: BrokerError, request_id: str) -> Problem:
    """Trouble of our own is told by its class alone: its details are for the log."""
    kind = type(error)
    status, title = ROWS[kind]
    is_ours = status >= 500
    return Problem(
        type=problem_type(kind),
        title=title,
        status=status,
        code=error.code,
        detail=default_text(kind) if is_ours else error.detail,
        request_id=request_id,
        is_retryable=error.is_retryable,
        errors=[] if is_ours else list(error.errors),
    )


def problem_type(kind: type[BrokerError]) -> str:
    """RFC 9457 section 3.1.1 allows a relative reference; the code after it is what programs compare."""
    return f"/problems/{kind.code}"


def default_text(kind: type[BrokerError]) -> str:
    return (kind.__doc__ or "").strip()


class _Refusal(Response[None]):
    """What Litestar wants of an exception handler; it sends the `Answer` and nothing of its own."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(None)
        self._answer = answer

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIApp:  # type: ignore[override]
        return self._answer


def refuse(request: Request[Any, Any, Any], raised: Exception) -> Response[None]:
    """The one exception handler: our errors, Litestar's, and everything that nobody expected."""
    error = _understood(raised)
    if error is None:
        _log.error("request.failed", exc_info=raised, extra={"request_id": request_id(request.scope)})
        error = BrokerError()
    elif ROWS[type(error)].status >= 500:
        extra = {"request_id": request_id(request.scope), "code": error.code, "reason": error.detail}
        _log.warning("request.refused", extra=extra)
    body = _encode(problem(error, request_id(request.scope)))
    headers = (*_headers(error), *_allow(raised))
    return _Refusal(Answer(ROWS[type(error)].status, body, media_type=PROBLEM_JSON, headers=headers))


def _understood(raised: Exception) -> BrokerError | None:
    """The error in our own words, or None for what must be a fault of ours."""
    if isinstance(raised, BrokerError):
        return raised if type(raised) in ROWS else None
    if isinstance(raised, NotFoundException):
        return errors.RouteNotFound()
    if isinstance(raised, MethodNotAllowedException):
        return errors.MethodNotAllowed()
    if isinstance(raised, HTTPException) and raised.status_code < 500:
        return errors.MalformedRequest(raised.detail)
    return None


def _headers(error: BrokerError) -> Headers:
    headers: list[tuple[bytes, bytes]] = []
    if challenge := CHALLENGED.get(type(error)):
        headers.append((b"www-authenticate", challenge))
    if is_retry_told(type(error)):
        delay = error.retry_after.total_seconds() if isinstance(error, errors.Unavailable | errors.Limited) else 1
        headers.append((b"retry-after", b"%d" % max(1, ceil(delay))))
    return headers


def is_retry_told(kind: type[BrokerError]) -> bool:
    """Whether the answer says when to come back: RFC 9110 section 10.2.3."""
    return kind.is_retryable


def _allow(raised: Exception) -> Headers:
    """RFC 9110 section 15.5.6: a 405 says what is allowed."""
    if not isinstance(raised, MethodNotAllowedException):
        return ()
    allowed = sorted((raised.headers or {}).get("allow", "").split(", "))
    return ((b"allow", ", ".join(allowed).encode()),)
