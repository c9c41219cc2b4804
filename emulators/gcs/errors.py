"""The refusals of Cloud Storage, in the words of both APIs.

Sources: https://cloud.google.com/storage/docs/json_api/v1/status-codes (status and `reason`) and
https://cloud.google.com/storage/docs/xml-api/reference-status (status and `Code`); wordings that the pages leave out
are those that the service sends.
"""

from collections.abc import Mapping
from typing import Final
from xml.sax.saxutils import escape

import msgspec

XML: Final = "application/xml; charset=UTF-8"
JSON: Final = "application/json; charset=UTF-8"

# Code of the XML API: status, reason of the JSON API, message
ERRORS: Final[Mapping[str, tuple[int, str, str]]] = {
    "AccessDenied": (403, "forbidden", "Access denied."),
    "AuthenticationRequired": (401, "required", "Authentication required."),
    "AuthorizationQueryParametersError": (
        400,
        "invalid",
        (
            "Query-string authentication version 4 requires X-Goog-Algorithm, X-Goog-Credential, X-Goog-Date, "
            "X-Goog-Expires, X-Goog-SignedHeaders and X-Goog-Signature, each once."
        ),
    ),
    "BadDigest": (400, "invalid", "The digest that you specified did not match what we received."),
    "BadRequest": (400, "badRequest", "Bad Request"),
    "EntityTooLarge": (
        400,
        "invalid",
        "Your proposed upload is larger than the maximum object size specified in your Policy Document.",
    ),
    "EntityTooSmall": (
        400,
        "invalid",
        "Your proposed upload is smaller than the minimum object size specified in your Policy Document.",
    ),
    "ExpiredToken": (400, "invalid", "Invalid argument."),
    "InsufficientScope": (403, "insufficientPermissions", "Request had insufficient authentication scopes."),
    "InternalError": (500, "backendError", "We encountered an internal error. Please try again."),
    "InvalidArgument": (400, "invalid", "Invalid argument."),
    "InvalidCredentials": (401, "authError", "Invalid Credentials"),
    "InvalidDigest": (400, "invalid", "The digest that you specified is invalid."),
    "InvalidRange": (416, "requestedRangeNotSatisfiable", "The requested range cannot be satisfied."),
    "InvalidSecurity": (403, "forbidden", "The provided security credentials are not valid."),
    "InvalidURI": (400, "invalid", "Couldn't parse the specified URI."),
    "KeyTooLong": (400, "invalid", "The specified key is too long."),
    "MalformedSecurityHeader": (400, "invalid", "Your request has a malformed header."),
    "MetadataTooLarge": (400, "invalid", "Your metadata headers exceed the maximum allowed metadata size."),
    "MethodNotAllowed": (405, "methodNotAllowed", "The specified method is not allowed against this resource."),
    "MissingContentLength": (411, "required", "You must provide the Content-Length HTTP header."),
    "NoSuchBucket": (404, "notFound", "The specified bucket does not exist."),
    "NoSuchKey": (404, "notFound", "The specified key does not exist."),
    "NoSuchUpload": (404, "notFound", "The requested upload was not found."),
    "NotFound": (404, "notFound", "Not Found"),
    "NotImplemented": (501, "notImplemented", "A header or parameter you provided is not implemented here."),
    "NotModified": (304, "notModified", ""),
    "OffsetGap": (503, "backendError", ""),
    "PreconditionFailed": (412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold."),
    "RequestTimeout": (408, "uploadBrokenConnection", "Your connection was not read from or written to in time."),
    "ServiceUnavailable": (503, "backendError", "Backend Error"),
    "SignatureDoesNotMatch": (403, "forbidden", "Access denied."),
    "TooManyRequests": (429, "rateLimitExceeded", "The rate of requests is too high. Please reduce it."),
    "UploadCancelled": (499, "cancelled", "The upload was cancelled."),
    "UploadExpired": (410, "gone", "The upload session is over."),
}


class GcsError(Exception):
    """A refusal. `details` says more than the message does; `fields` become extra elements of its XML."""

    def __init__(
        self,
        code: str,
        details: str = "",
        *,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.code = code
        self.status, self.reason, self.message = ERRORS[code]
        self.details = details
        self.fields = dict(fields or {})
        self.headers = dict(headers or {})
        super().__init__(f"{code}: {details or self.message}")

    def as_json(self) -> bytes:
        text = self.details or self.message
        each = {"message": text, "domain": "global", "reason": self.reason}
        return msgspec.json.encode({"error": {"code": self.status, "message": text, "errors": [each]}})

    def as_xml(self) -> bytes:
        nodes = {"Code": self.code, "Message": self.message, **self.fields}
        if self.details:
            nodes["Details"] = self.details
        inside = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in nodes.items())
        return f"<?xml version='1.0' encoding='UTF-8'?><Error>{inside}</Error>".encode()


def no_such_object(bucket: str, key: str) -> GcsError:
    return GcsError("NoSuchKey", f"No such object: {bucket}/{key}")
