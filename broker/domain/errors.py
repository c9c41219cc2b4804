"""The error tree. A class is a stable kebab-case code, a retryability and a sentence; no status codes here.

BrokerError
├── InvalidInput                 the caller's words are wrong; sending them again changes nothing
│   ├── SizeTooLarge, ContentTypeNotAllowed, ChecksumInvalid, ChecksumNotProvable, MetadataTooLarge,
│   │   MetadataInvalid, StrategyTooWeak, UnknownDestination, IdempotencyKeyInvalid, IdempotencyKeyReused,
│   │   ResultTooLarge, OriginNotAllowed
│   └── BodyTooLarge, BodyTypeUnsupported, NotJson, MalformedRequest
├── Refused                      the caller may not
│   ├── Unauthenticated, Forbidden
│   └── NotAuthentic             a notification that its sender did not sign
├── Missing                      there is no such thing, or not for this caller
│   └── SessionNotFound, ObjectErased, SourceNotFound, RouteNotFound, MethodNotAllowed
├── Conflict                     the thing is not in a state for it
│   └── SessionSettled, SessionNotVerified, LeaseLost, ObjectGone, IdempotencyInFlight, CompletionInProgress,
│       NotMultipart, PinNotInUrl
├── Limited                      more than this key may, at this moment
│   └── RateLimited, QuotaExceeded
├── Unavailable                  ours or the store's trouble; again later
│   ├── LedgerUnavailable, StoreUnavailable, StoreRefused, CredentialsUnavailable, SenderUnavailable, Overloaded,
│   │   SigningQuotaExhausted
│   └── SourceUnavailable, SourceRefused
└── ConfigurationInvalid         found at start-up
    └── StoreMismatch            ledger and bucket do not belong together
"""

from datetime import timedelta
from typing import ClassVar

from broker.contract import FieldProblem


class BrokerError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    is_retryable: ClassVar[bool] = False

    def __init__(self, detail: str | None = None, *, errors: tuple[FieldProblem, ...] = ()) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.errors = errors
        super().__init__(self.detail)

    @classmethod
    def at(cls, pointer: str, message: str | None = None) -> "BrokerError":
        """The same error, naming the one field that is at fault.

        :param pointer: RFC 6901 pointer into the request body.
        """
        text = message or (cls.__doc__ or "").strip()
        return cls(text, errors=(FieldProblem(pointer=pointer, code=cls.code, message=text),))


class InvalidInput(BrokerError):
    """The request is valid JSON but not valid here."""

    code = "invalid-input"


class NotJson(InvalidInput):
    """The body is not JSON."""

    code = "not-json"


class MalformedRequest(InvalidInput):
    """The request is not whole or not proper HTTP."""

    code = "malformed-request"


class BodyTooLarge(InvalidInput):
    """The body is larger than the broker reads."""

    code = "body-too-large"


class BodyTypeUnsupported(InvalidInput):
    """A body is sent as application/json."""

    code = "body-type-unsupported"


class SizeTooLarge(InvalidInput):
    """The object is larger than this destination or key permits."""

    code = "size-too-large"


class ContentTypeNotAllowed(InvalidInput):
    """This destination does not take objects of this type."""

    code = "content-type-not-allowed"


class ChecksumInvalid(InvalidInput):
    """The checksum is not the standard base64 of a digest of its algorithm's length."""

    code = "checksum-invalid"


class ChecksumNotProvable(InvalidInput):
    """The destination requires a checksum, and none was declared that anybody can prove."""

    code = "checksum-not-provable"


class MetadataTooLarge(InvalidInput):
    """The metadata is larger than the broker keeps or the store signs."""

    code = "metadata-too-large"


class MetadataInvalid(InvalidInput):
    """Object metadata takes token names and printable ASCII values."""

    code = "metadata-invalid"


class StrategyTooWeak(InvalidInput):
    """No permitted strategy gives every guarantee that this destination requires."""

    code = "strategy-too-weak"


class UnknownDestination(InvalidInput):
    """There is no such destination, or this key may not use it."""

    code = "unknown-destination"


class IdempotencyKeyInvalid(InvalidInput):
    """An Idempotency-Key is 1 to 255 printable ASCII characters."""

    code = "idempotency-key-invalid"


class IdempotencyKeyReused(InvalidInput):
    """This Idempotency-Key was used with another body."""

    code = "idempotency-key-reused"


class ResultTooLarge(InvalidInput):
    """The result is larger than the broker keeps."""

    code = "result-too-large"


class OriginNotAllowed(InvalidInput):
    """No pages of this origin may upload by this broker."""

    code = "origin-not-allowed"


class Refused(BrokerError):
    """The caller may not do this."""

    code = "refused"


class Unauthenticated(Refused):
    """A valid key or session token is required."""

    code = "unauthenticated"


class Forbidden(Refused):
    """This key does not have the role for this call."""

    code = "forbidden"


class NotAuthentic(Refused):
    """The notification does not prove that its source sent it."""

    code = "notification-not-authentic"


class Missing(BrokerError):
    """There is no such thing here."""

    code = "not-found"


class RouteNotFound(Missing):
    """There is no such route."""

    code = "route-not-found"


class MethodNotAllowed(Missing):
    """The route does not take this method."""

    code = "method-not-allowed"


class SessionNotFound(Missing):
    """There is no such upload session, or it belongs to another principal."""

    code = "session-not-found"


class ObjectErased(Missing):
    """The object of this session was erased."""

    code = "object-erased"


class SourceNotFound(Missing):
    """There is no such notification source."""

    code = "source-not-found"


class Conflict(BrokerError):
    """The session is not in a state for this."""

    code = "conflict"


class SessionSettled(Conflict):
    """The session is settled; it can no longer be uploaded to or aborted."""

    code = "session-settled"


class CompletionInProgress(Conflict):
    """The parts are being put together; ask again in a moment."""

    code = "completion-in-progress"
    is_retryable = True


class SessionNotVerified(Conflict):
    """The object is not verified, so there is nothing to read yet."""

    code = "session-not-verified"


class NotMultipart(Conflict):
    """This session is not uploaded in parts."""

    code = "not-multipart"


class LeaseLost(Conflict):
    """The lease is not the current one; another worker may own the job."""

    code = "lease-lost"


class ObjectGone(Conflict):
    """The object is gone, or another one lies there than was verified."""

    code = "object-gone"


class PinNotInUrl(Conflict):
    """This store pins the version in a header, which a redirect cannot carry; ask without redirect."""

    code = "pin-not-in-url"


class IdempotencyInFlight(Conflict):
    """The first request with this Idempotency-Key has not finished."""

    code = "idempotency-in-flight"
    is_retryable = True


class Limited(BrokerError):
    """The key is at one of its limits; try again later."""

    code = "limited"
    is_retryable = True
    retry_after: timedelta = timedelta(seconds=1)


class RateLimited(Limited):
    """The key mints more sessions a second than it may."""

    code = "rate-limited"

    def __init__(
        self, detail: str | None = None, *, errors: tuple[FieldProblem, ...] = (), retry_after: timedelta | None = None
    ) -> None:
        super().__init__(detail, errors=errors)
        self.retry_after = retry_after or type(self).retry_after


class QuotaExceeded(Limited):
    """The key has as much pending as it may; settle, abort or wait."""

    code = "quota-exceeded"
    retry_after = timedelta(seconds=5)  # ours: nobody knows when the next upload ends


class Unavailable(BrokerError):
    """Something that the broker depends on does not answer; try again."""

    code = "unavailable"
    is_retryable = True
    retry_after: timedelta = timedelta(seconds=1)


class LedgerUnavailable(Unavailable):
    """The ledger does not answer; nothing was changed, or it will be found again."""

    code = "ledger-unavailable"


class StoreUnavailable(Unavailable):
    """The object store does not answer."""

    code = "store-unavailable"


class SenderUnavailable(Unavailable):
    """What proves who sent the notification cannot be had now; it must be sent again."""

    code = "sender-unavailable"
    retry_after = timedelta(seconds=10)


class StoreRefused(Unavailable):
    """The object store refuses the broker; its operator must mend a permission."""

    code = "store-refused"
    retry_after = timedelta(seconds=30)


class CredentialsUnavailable(Unavailable):
    """The credential of a destination could not be resolved or refreshed."""

    code = "credentials-unavailable"
    retry_after = timedelta(seconds=5)


class SigningQuotaExhausted(Unavailable):
    """As many requests are signed at this moment as the store's provider permits."""

    code = "signing-quota-exhausted"

    def __init__(
        self, detail: str | None = None, *, errors: tuple[FieldProblem, ...] = (), retry_after: timedelta | None = None
    ) -> None:
        super().__init__(detail, errors=errors)
        self.retry_after = retry_after or type(self).retry_after


class SourceUnavailable(Unavailable):
    """The queue of a source does not answer, or asks for patience."""

    code = "source-unavailable"


class SourceRefused(Unavailable):
    """The queue of a source is not there, or refuses the broker; its operator must mend that."""

    code = "source-refused"
    retry_after = timedelta(seconds=30)


class Overloaded(Unavailable):
    """The broker is at a limit of its own; try again."""

    code = "overloaded"


class ConfigurationInvalid(BrokerError):
    """The configuration cannot be used."""

    code = "configuration-invalid"


class StoreMismatch(ConfigurationInvalid):
    """The ledger and the bucket do not belong together."""

    code = "store-mismatch"
