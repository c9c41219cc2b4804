"""Read a V4 signature (`GOOG4-RSA-SHA256`) out of a query, and build again what must have been signed.

An implementation of its own, sharing nothing with the broker's signer. Sources, under
https://cloud.google.com/storage/docs/: authentication/signatures, authentication/canonical-requests. Path and query are
used as they arrived: a client that sends other bytes than it signed is refused.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from emulators.gcs.errors import GcsError
from emulators.gcs.request import GcsRequest, raw_pairs

ALGORITHM: Final = "GOOG4-RSA-SHA256"
MAX_EXPIRES_SECONDS: Final = 604_800  # authentication/signatures: "the longest expiration value is 604800 seconds"
MAX_SKEW: Final = timedelta(minutes=15)  # the same page, on X-Goog-Date: requests within 15 minutes
SIGNATURE: Final = "X-Goog-Signature"
QUERY_FIELDS: Final = (
    "X-Goog-Algorithm",
    "X-Goog-Credential",
    "X-Goog-Date",
    "X-Goog-Expires",
    "X-Goog-SignedHeaders",
    SIGNATURE,
)
_SPACES: Final = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a request says about its own signature, before anything is believed."""

    email: str
    scope: Sequence[str]
    date: str
    moment: datetime
    expires: timedelta
    signed_headers: tuple[str, ...]
    signature: bytes = field(repr=False)


def is_signed(request: GcsRequest) -> bool:
    return any(name.startswith("X-Goog-") for name, _ in raw_pairs(request.raw_query))


def claim_of(request: GcsRequest) -> Claim:
    """:raises GcsError: AuthorizationQueryParametersError, InvalidArgument."""
    names = [name for name, _ in raw_pairs(request.raw_query)]
    params = request.params
    if any(names.count(name) != 1 for name in QUERY_FIELDS):
        raise GcsError("AuthorizationQueryParametersError")
    if params["X-Goog-Algorithm"] != ALGORITHM:
        raise GcsError("InvalidArgument", f"X-Goog-Algorithm must be {ALGORITHM} here.")
    email, *scope = params["X-Goog-Credential"].rsplit("/", 4)
    if len(scope) != 4 or not email:
        raise GcsError("InvalidArgument", "X-Goog-Credential must be EMAIL/DATE/LOCATION/storage/goog4_request.")
    return Claim(
        email=email,
        scope=scope,
        date=params["X-Goog-Date"],
        moment=_moment(params["X-Goog-Date"]),
        expires=_expires(params["X-Goog-Expires"]),
        signed_headers=_signed_headers(params["X-Goog-SignedHeaders"]),
        signature=_signature(params[SIGNATURE]),
    )


def _moment(text: str) -> datetime:
    try:
        if len(text) != 16:
            raise ValueError
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as exc:
        raise GcsError("InvalidArgument", "X-Goog-Date must be in the ISO 8601 basic format YYYYMMDDTHHMMSSZ.") from exc


def _expires(text: str) -> timedelta:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= MAX_EXPIRES_SECONDS:
        raise GcsError("InvalidArgument", f"X-Goog-Expires must be between 1 and {MAX_EXPIRES_SECONDS} seconds.")
    return timedelta(seconds=int(text))


def _signed_headers(text: str) -> tuple[str, ...]:
    names = tuple(text.split(";"))
    if not all(names) or list(names) != sorted({name.lower() for name in names}):
        raise GcsError("InvalidArgument", "X-Goog-SignedHeaders must be lower-case, sorted, and each named once.")
    return names


def _signature(text: str) -> bytes:
    if not re.fullmatch(r"(?:[0-9a-f]{2})+", text):
        raise GcsError("InvalidArgument", f"{SIGNATURE} must be in hexadecimal.")
    return bytes.fromhex(text)


def check(request: GcsRequest, claim: Claim, *, location: str, now: datetime) -> None:
    """All that can be said without a key.

    :raises GcsError: InvalidArgument, AccessDenied, ExpiredToken, MalformedSecurityHeader.
    """
    date, place, service, terminal = claim.scope
    if date != claim.date[:8]:
        raise GcsError("InvalidArgument", "The date of X-Goog-Credential must be the one of X-Goog-Date.")
    if place not in {"auto", location.lower()}:
        raise GcsError("InvalidArgument", f"The location of X-Goog-Credential must be auto or {location.lower()}.")
    if (service, terminal) != ("storage", "goog4_request"):
        raise GcsError("InvalidArgument", "X-Goog-Credential must end with storage/goog4_request.")
    if claim.moment - now > MAX_SKEW:
        raise GcsError("AccessDenied", "The request is not valid yet: X-Goog-Date lies in the future.")
    end = claim.moment + claim.expires
    if now >= end:
        raise GcsError(
            "ExpiredToken",
            f"The provided token has expired. Request signature expired at: {end.isoformat(timespec='seconds')}",
        )
    _check_headers(request, claim)


def _check_headers(request: GcsRequest, claim: Claim) -> None:
    """canonical-requests, "Required headers": host, and every x-goog-* header that is sent."""
    present = request.joined_headers
    for name in claim.signed_headers:
        if name not in present:
            raise _malformed(name, "Header was included in signedheaders, but not in the request.")
    for name in present:
        if (name == "host" or name.startswith("x-goog-")) and name not in claim.signed_headers:
            raise _malformed(name, "Header was in the request, but not included in signedheaders.")


def _malformed(name: str, details: str) -> GcsError:
    return GcsError("MalformedSecurityHeader", details, fields={"ParameterName": name})


def canonical_request(request: GcsRequest, claim: Claim) -> str:
    pairs = sorted(pair for pair in raw_pairs(request.raw_query) if pair[0] != SIGNATURE)
    headers = [f"{name}:{_SPACES.sub(' ', request.joined_headers[name].strip())}" for name in claim.signed_headers]
    is_hashed = "x-goog-content-sha256" in claim.signed_headers
    return "\n".join(
        [
            request.method,
            request.raw_path,
            "&".join(f"{name}={value}" for name, value in pairs),
            *headers,
            "",
            ";".join(claim.signed_headers),
            request.joined_headers["x-goog-content-sha256"] if is_hashed else "UNSIGNED-PAYLOAD",
        ]
    )


def string_to_sign(claim: Claim, canonical: str) -> str:
    digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    return "\n".join([ALGORITHM, claim.date, "/".join(claim.scope), digest])
